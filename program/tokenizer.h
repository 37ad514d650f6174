/*
 * Text to token ids and back: the model directory's tokenizer.model, by SentencePiece, where the
 * program was built with it.
 */
#ifndef TNL_PROGRAM_TOKENIZER_H
#define TNL_PROGRAM_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tokenizer tokenizer;

/* DIRECTORY/tokenizer.model. NULL: there is none, or it can't be read, or the program was built
 * without SentencePiece; the text then says which. */
tokenizer *tokenizer_open(const char *directory, char *error, size_t error_bytes);
/* NULL is allowed. */
void tokenizer_close(tokenizer *t);
int64_t tokenizer_size(const tokenizer *t);
/* Both are to be given to free(); NULL: out of memory, or no text can be made of the tokens. */
int32_t *tokenizer_encode(const tokenizer *t, const char *text, int64_t *count);
char *tokenizer_decode(const tokenizer *t, const int32_t *tokens, int64_t count);

#ifdef __cplusplus
}
#endif

#endif
