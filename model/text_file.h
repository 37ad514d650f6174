/* Small text files, whole. */
#ifndef TNL_MODEL_TEXT_FILE_H
#define TNL_MODEL_TEXT_FILE_H

#include <stddef.h>

/* The content of a file of at most 256 MiB with a NUL behind it, to be given to free(). NULL: error
 * names the file. */
char *tnl_read_text(const char *path, size_t *length, char *error, size_t error_bytes);

#endif
