#include "recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "mountpoint.h"

enum { WAIT_SECONDS = 30 };

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000 + now.tv_nsec;
}

static void clear_progress(struct tfs_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}

static void note(void *arg, const char *line)
{
    struct tfs *fs = arg;

    if (atomic_load(&fs->progress.done)) {
        tfs_say(LOG_WARNING, "%s: %s", fs->store_path, line);
        return;
    }
    clear_progress(&fs->progress);
    tfs_say(LOG_NOTICE, "%s: recovery: %s", fs->store_path, line);
}

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    struct tfs_progress *progress = &((struct tfs *)arg)->progress;
    int64_t now = now_ns(), spent = now - progress->started_ns;

    if (!progress->terminal || spent < 1000000000 || now - progress->last_ns < 200000000)
        return;
    double rate = (double)done / ((double)spent / 1e9), left = rate > 0 ? (double)(total - done) / rate : 0;
    fprintf(stderr, "\r\033[Ktopicfs: recovering %.1f of %.1f MiB, %.1f MiB/s, %.0f s left", (double)done / 1048576,
            (double)total / 1048576, rate / 1048576, left);
    progress->shown = true;
    progress->last_ns = now;
}

static void grown(void *arg, struct tlog_partition *partition)
{
    struct tfs *fs = arg;

    tfs_notify_grown(&fs->notify, partition);
}

static void trimmed(void *arg, struct tlog_partition *partition)
{
    struct tfs *fs = arg;

    tfs_notify_trimmed(&fs->notify, partition);
}

static void say_why(const char *path, int result, const struct tlog_error *error)
{
    if (result == -EWOULDBLOCK)
        tfs_say(LOG_ERR, "%s: another process has this store open", path);
    else if (result == -ENOTEMPTY)
        tfs_say(LOG_ERR, "%s: not a store, and not an empty directory to make one in", path);
    else if (error->text[0] != '\0')
        tfs_say(LOG_ERR, "%s", error->text);
    else
        tfs_say(LOG_ERR, "%s: cannot open the store: %s", path, strerror(-result));
}

static void say_counts(const char *path, const struct tlog_recovery *did)
{
    if (did->cut_bytes + did->indexed_records + did->replayed_bytes + did->ended_rests + did->rewritten_files == 0)
        return;
    tfs_say(LOG_NOTICE,
            "%s: recovered: %" PRIu64 " records indexed, %" PRIu64 " unfinished lines ended, %" PRIu64
            " bytes written from the journal, %" PRIu64 " bytes cut and kept in %" PRIu64 " files, %" PRIu64
            " files written anew",
            path, did->indexed_records, did->ended_rests, did->replayed_bytes, did->cut_bytes, did->cut_files,
            did->rewritten_files);
}

/* A daemon that was just unmounted still has its store open while it makes everything durable: `umount` and a new
 * mount right after it must work. One that is mounted is not waited for. */
static int open_when_free(struct tfs *fs, const struct tlog_options *options, struct tlog_error *error)
{
    const struct timespec moment = {.tv_nsec = 20000000};
    int64_t until_ns = now_ns() + WAIT_SECONDS * INT64_C(1000000000);
    bool said = false;
    int result;

    while ((result = tlog_store_open(&fs->store, fs->store_path, options, error)) == -EWOULDBLOCK &&
           now_ns() < until_ns && !tfs_mounted_from(fs->store_path)) {
        if (!said)
            tfs_say(LOG_NOTICE, "%s: waiting for the process that has this store open to end", fs->store_path);
        said = true;
        nanosleep(&moment, NULL);
    }
    return result;
}

int tfs_store_open(struct tfs *fs)
{
    struct tlog_options options = {
        .create = !fs->read_only,
        .read_only = fs->read_only,
        .note = note,
        .progress = show_progress,
        .grown = grown,
        .trimmed = trimmed,
        .arg = fs,
    };
    struct tlog_error error = {""};
    struct tlog_recovery did;

    fs->progress.terminal = isatty(STDERR_FILENO) == 1;
    fs->progress.started_ns = now_ns();
    int result = open_when_free(fs, &options, &error);
    if (!atomic_exchange(&fs->progress.done, true))
        clear_progress(&fs->progress);
    if (result != 0) {
        say_why(fs->store_path, result, &error);
        return result;
    }
    tlog_store_recovery(fs->store, &did);
    say_counts(fs->store_path, &did);
    if (did.damaged > 0)
        tfs_say(LOG_WARNING, "%s: %" PRIu64 " partitions are damaged and read-only, see .status and topicctl verify",
                fs->store_path, did.damaged);
    return 0;
}
