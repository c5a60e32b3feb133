#include "log.h"

#define FUSE_USE_VERSION 314
#include <fuse_log.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
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

static void libfuse_says(enum fuse_log_level level, const char *format, va_list arguments)
{
    vsyslog((int)level, format, arguments);
}

void tfs_say_by_syslog(void)
{
    openlog("topicfs", LOG_PID, LOG_DAEMON);
    fuse_set_log_func(libfuse_says);
    atomic_store(&by_syslog, true);
}
