#include "log/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tlog_error_set(struct tlog_error *error, const char *format, ...)
{
    va_list arguments;

    if (!error)
        return;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
}

void tlog_error_prefix(struct tlog_error *error, const char *format, ...)
{
    char old[2 + sizeof(error->text)] = ": ";
    va_list arguments;

    if (!error)
        return;
    memcpy(old + 2, error->text, sizeof(error->text));
    old[sizeof(old) - 1] = '\0';
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);

    size_t used = strlen(error->text), room = sizeof(error->text) - 1 - used;
    size_t length = old[2] != '\0' ? strlen(old) : 0;
    if (length > room)
        length = room;
    memcpy(error->text + used, old, length);
    error->text[used + length] = '\0';
}
