/* What is wrong with a file: the texts of the model's parsers. */
#ifndef TNL_MODEL_FILE_ERROR_H
#define TNL_MODEL_FILE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* Where a complaint goes, and about which file. */
typedef struct tnl_file_error {
    const char *path;
    char *error;
    size_t error_bytes;
} tnl_file_error;

/* "PATH: PART: text"; part, a key or a tensor, NULL where none is to blame. Returns false. */
__attribute__((format(printf, 3, 4))) bool tnl_file_fail(const tnl_file_error *to, const char *part,
                                                         const char *format, ...);

#endif
