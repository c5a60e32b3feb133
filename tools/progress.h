/* Progress on stderr for what takes longer than a second, if stderr is a terminal; silent otherwise.
 *
 * One line that rewrites itself: what, how much, the rate of the last seconds, the time left. */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what;
    bool silent; /* stdout goes to the same terminal, or the user said so */
    /* The rest is progress.c's; zero at first. */
    bool started, shown;
    int64_t begin_ns, last_ns;
    uint64_t last_done;
    double rate; /* bytes a second, smoothed */
};

/* Call as often as you like; it draws five times a second. total_bytes 0: not known. */
void progress_show(struct progress *progress, uint64_t done_bytes, uint64_t total_bytes);
/* Clears the line; wanted before anything else is printed. */
void progress_end(struct progress *progress);

#endif
