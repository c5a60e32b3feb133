#include "log/ground.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t clock_jump_ns = INT64_C(3600) * 1000000000;

int64_t tlog_ground_time_ns(struct tlog_ground *ground)
{
    int64_t now_ns = ground->io->realtime_ns(ground->io);
    int64_t most_ns = ground->io->boottime_ns(ground->io) + ground->clock_offset_ns + clock_jump_ns;
    return now_ns < most_ns ? now_ns : most_ns;
}

void tlog_gate_shut(struct tlog_ground *ground, bool shut)
{
    pthread_mutex_lock(&ground->gate_lock);
    atomic_store(&ground->gate_shut, shut);
    pthread_cond_broadcast(&ground->gate_opened);
    pthread_mutex_unlock(&ground->gate_lock);
}

void tlog_gate_wait(struct tlog_ground *ground)
{
    pthread_mutex_lock(&ground->gate_lock);
    while (atomic_load(&ground->gate_shut))
        pthread_cond_wait(&ground->gate_opened, &ground->gate_lock);
    pthread_mutex_unlock(&ground->gate_lock);
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

/* ---- damage ---- */

static bool is_known(const struct tlog_damages *damages, const char *line)
{
    for (unsigned i = 0; i < TLOG_DAMAGES_KEPT; i++)
        if (damages->lines[i] && strcmp(damages->lines[i], line) == 0)
            return true;
    return false;
}

void tlog_ground_damage(struct tlog_ground *ground, const char *format, ...)
{
    struct tlog_damages *damages = &ground->damages;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&damages->lock);
    bool known = is_known(damages, line);
    char **at = &damages->lines[damages->count % TLOG_DAMAGES_KEPT];
    if (!known) {
        free(*at);
        *at = strdup(line);
        damages->count++;
    }
    pthread_mutex_unlock(&damages->lock);
    if (!known)
        tlog_ground_note(ground, "%s", line);
}

void tlog_damages_each(struct tlog_damages *damages, void (*each)(void *arg, const char *line), void *arg)
{
    char *lines[TLOG_DAMAGES_KEPT];
    unsigned count = 0;
    pthread_mutex_lock(&damages->lock);
    for (uint64_t n = damages->count > TLOG_DAMAGES_KEPT ? damages->count - TLOG_DAMAGES_KEPT : 0; n < damages->count;
         n++) {
        const char *line = damages->lines[n % TLOG_DAMAGES_KEPT];
        if (line && (lines[count] = strdup(line)))
            count++;
    }
    pthread_mutex_unlock(&damages->lock);
    for (unsigned i = 0; i < count; i++) {
        each(arg, lines[i]);
        free(lines[i]);
    }
}

void tlog_damages_release(struct tlog_damages *damages)
{
    for (unsigned i = 0; i < TLOG_DAMAGES_KEPT; i++)
        free(damages->lines[i]);
    pthread_mutex_destroy(&damages->lock);
}
