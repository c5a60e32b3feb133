#include "log.h"

#define FUSE_USE_VERSION 314
#include <fuse_log.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

static atomic_bool by_syslog;

void tfs_say(int priority, const char *format, ...)
{
    char line[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (atomic_load(&by_syslog))
        syslog(priority, "%s", line);
    else
        fprintf(stderr, "topicfs: %s\n", line);
}

/* libfuse says some sentences in pieces, and begins them with its own name. */
static void libfuse_says(enum fuse_log_level level, const char *format, va_list arguments)
{
    static const char own_name[] = "fuse: ";
    static _Thread_local bool inside;
    char text[1024], *from = text;

    vsnprintf(text, sizeof text, format, arguments);
    if (level == FUSE_LOG_DEBUG) {
        fputs(text, stderr);
        return;
    }
    if (strncmp(text, own_name, strlen(own_name)) == 0)
        from += strlen(own_name);
    if (atomic_load(&by_syslog))
        syslog((int)level, "%s", from);
    else
        fprintf(stderr, "%s%s", inside ? "" : "topicfs: ", from);
    inside = from[0] != '\0' && from[strlen(from) - 1] != '\n';
}

void tfs_say_for_libfuse(void)
{
    fuse_set_log_func(libfuse_says);
}

void tfs_say_by_syslog(void)
{
    openlog("topicfs", LOG_PID, LOG_DAEMON);
    atomic_store(&by_syslog, true);
}
