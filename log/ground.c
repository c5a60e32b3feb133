#include "log/ground.h"

#include <stdarg.h>
#include <stdio.h>

static const int64_t clock_jump_ns = INT64_C(3600) * 1000000000;

int64_t tlog_ground_time_ns(struct tlog_ground *ground)
{
    int64_t now_ns = ground->io->realtime_ns(ground->io);
    int64_t most_ns = ground->io->boottime_ns(ground->io) + ground->clock_offset_ns + clock_jump_ns;
    return now_ns < most_ns ? now_ns : most_ns;
}

void tlog_ground_kick(struct tlog_ground *ground)
{
    pthread_mutex_lock(&ground->dirty_lock);
    ground->kicked = true;
    pthread_cond_signal(&ground->wake);
    pthread_mutex_unlock(&ground->dirty_lock);
}

void tlog_ground_kick_maintain(struct tlog_ground *ground)
{
    pthread_mutex_lock(&ground->dirty_lock);
    ground->maintain_kicked = true;
    pthread_cond_signal(&ground->wake_maintain);
    pthread_mutex_unlock(&ground->dirty_lock);
}

void tlog_ground_note(struct tlog_ground *ground, const char *format, ...)
{
    char line[1024];
    va_list args;
    if (!ground->options.note)
        return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    ground->options.note(ground->options.arg, line);
}
