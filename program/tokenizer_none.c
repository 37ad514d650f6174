/* A program built without SentencePiece: token ids only (program/tokenizer.h). */
#include "program/tokenizer.h"

#include <stdio.h>

tokenizer *tokenizer_open(const char *directory, char *error, size_t error_bytes) {
    (void)directory;
    snprintf(error, error_bytes, "this program was built without SentencePiece");
    return NULL;
}

void tokenizer_close(tokenizer *t) {
    (void)t;
}

int64_t tokenizer_size(const tokenizer *t) {
    (void)t;
    return 0;
}

int32_t *tokenizer_encode(const tokenizer *t, const char *text, int64_t *count) {
    (void)t;
    (void)text;
    *count = 0;
    return NULL;
}

char *tokenizer_decode(const tokenizer *t, const int32_t *tokens, int64_t count) {
    (void)t;
    (void)tokens;
    (void)count;
    return NULL;
}
