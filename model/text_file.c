/* Reading text files (model/text_file.h). */
#include "model/text_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)256 << 20)

/* The stream's content, its buffer doubled as it fills; NULL: why is set. */
static char *read_stream(FILE *stream, size_t *length, const char **why) {
    size_t capacity = 4096, count = 0;
    char *text = malloc(capacity);
    while (text) {
        count += fread(text + count, 1, capacity - 1 - count, stream);
        if (count + 1 < capacity)
            break;
        if (capacity > MOST_BYTES) {
            *why = "is larger than 256 MiB";
            free(text);
            return NULL;
        }
        capacity *= 2;
        char *larger = realloc(text, capacity);
        if (!larger)
            free(text);
        text = larger;
    }
    *why = text ? strerror(errno) : "out of memory";
    if (!text || ferror(stream)) {
        free(text);
        return NULL;
    }
    text[count] = '\0';
    *length = count;
    return text;
}

char *tnl_read_text(const char *path, size_t *length, char *error, size_t error_bytes) {
    const char *why = NULL;
    char *text = NULL;
    FILE *stream = fopen(path, "rbe");
    if (stream) {
        text = read_stream(stream, length, &why);
        fclose(stream);
    } else {
        why = strerror(errno);
    }
    if (!text)
        snprintf(error, error_bytes, "%s: %s", path, why);
    return text;
}
