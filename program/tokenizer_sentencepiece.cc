/* The tokenizer by SentencePiece (program/tokenizer.h). */
#include <sentencepiece_processor.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "program/tokenizer.h"

struct tokenizer {
    sentencepiece::SentencePieceProcessor processor;
};

tokenizer *tokenizer_open(const char *directory, char *error, size_t error_bytes) {
    tokenizer *made = new (std::nothrow) tokenizer;
    const std::string path = std::string(directory) + "/tokenizer.model";
    if (!made) {
        std::snprintf(error, error_bytes, "out of memory");
        return nullptr;
    }
    const auto status = made->processor.Load(path);
    if (status.ok())
        return made;
    std::snprintf(error, error_bytes, "%s: %s", path.c_str(), status.ToString().c_str());
    delete made;
    return nullptr;
}

void tokenizer_close(tokenizer *t) {
    delete t;
}

int64_t tokenizer_size(const tokenizer *t) {
    return t->processor.GetPieceSize();
}

int32_t *tokenizer_encode(const tokenizer *t, const char *text, int64_t *count) {
    std::vector<int> ids;
    if (!t->processor.Encode(text, &ids).ok())
        return nullptr;
    int32_t *tokens = static_cast<int32_t *>(std::malloc((ids.size() + 1) * sizeof *tokens));
    for (size_t i = 0; tokens && i < ids.size(); i++)
        tokens[i] = ids[i];
    *count = static_cast<int64_t>(ids.size());
    return tokens;
}

char *tokenizer_decode(const tokenizer *t, const int32_t *tokens, int64_t count) {
    std::string text;
    if (!t->processor.Decode(std::vector<int>(tokens, tokens + count), &text).ok())
        return nullptr;
    return strdup(text.c_str());
}
