#include "tools/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS INT64_C(1000000000)

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static const char *human(double bytes, char to[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;

    while (bytes >= 1000 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(to, 32, unit > 0 && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return to;
}

static void draw(struct progress *progress, uint64_t done, uint64_t total)
{
    char a[32], b[32], c[32];

    fprintf(stderr, "\r%s: %s", progress->what, human((double)done, a));
    if (total > 0)
        fprintf(stderr, " of %s, %d%%", human((double)total, b), (int)(100.0 * (double)done / (double)total));
    fprintf(stderr, ", %s/s", human(progress->rate, c));
    if (total > done && progress->rate > 0) {
        uint64_t left = (uint64_t)((double)(total - done) / progress->rate);
        if (left >= 3600)
            fprintf(stderr, ", %" PRIu64 ":%02u:%02u left", left / 3600, (unsigned)(left / 60 % 60),
                    (unsigned)(left % 60));
        else
            fprintf(stderr, ", %u:%02u left", (unsigned)(left / 60), (unsigned)(left % 60));
    }
    fputs("\033[K", stderr);
    fflush(stderr);
    progress->shown = true;
}

void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t total_bytes)
{
    int64_t now = now_ns();

    if (!progress->started) {
        progress->started = true;
        progress->begin_ns = progress->last_ns = now;
        progress->last_done = done_bytes;
        progress->silent |= !isatty(STDERR_FILENO);
    }
    if (progress->silent || now - progress->last_ns < SECOND_NS / 5)
        return;
    double rate = (double)(done_bytes - progress->last_done) * 1e9 / (double)(now - progress->last_ns);
    progress->rate = progress->rate > 0 ? 0.8 * progress->rate + 0.2 * rate : rate;
    progress->last_ns = now;
    progress->last_done = done_bytes;
    if (now - progress->begin_ns >= SECOND_NS)
        draw(progress, done_bytes, total_bytes);
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
