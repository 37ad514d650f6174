/* Texts about files (model/file_error.h). */
#include "model/file_error.h"

#include <stdarg.h>
#include <stdio.h>

bool tnl_file_fail(const tnl_file_error *to, const char *part, const char *format, ...) {
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    snprintf(to->error, to->error_bytes, "%s: %s%s%s", to->path, part ? part : "", part ? ": " : "",
             text);
    return false;
}
