/* The store: opening and closing. */
#include "log/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log/error.h"
#include "log/lock.h"
#include "log/spare.h"

enum {
    SPARE_FILES = 128,
    SEALED_OPEN_MOST = 64, /* each keeps its seek table in memory: 512 KiB for segments of 256 MiB */
};

/* ---- a failed journal ---- */

void tlog_store_fail(struct tlog_store *store)
{
    static const char text[] = "the journal's fsync failed; a restart makes a new one\n";
    atomic_store(&store->ground.failed, true);
    int r = tlog_file_mark(store->ground.io, store->ground.path, "failed", text);
    tlog_ground_note(&store->ground, "journal: fsync failed: the store is read-only until a restart%s",
                     r < 0 ? " (and this could not be marked on disk)" : "");
}

static void journal_failed(void *arg)
{
    tlog_store_fail(arg);
}

static void journal_pressed(void *arg)
{
    struct tlog_store *store = arg;
    tlog_ground_kick(&store->ground);
}

/* ---- opening ---- */

/* How many descriptors the open files of segments may take. */
static unsigned files_allowed(const struct tlog_options *options)
{
    unsigned files = options->max_files;
    struct rlimit limit;
    if (files == 0) {
        files = 1024;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
            files = limit.rlim_cur > 65536 ? 65536 : (unsigned)limit.rlim_cur;
        files = files > 2 * SPARE_FILES ? files - SPARE_FILES : files / 2;
    }
    return files;
}

static int read_config(struct tlog_store *store, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/topicfs.conf", store->ground.path);
    int r = tlog_file_read(store->ground.io, path, &store->config_text, NULL);
    if (r == -ENOENT) {
        store->config_text = strdup("");
        r = store->config_text ? 0 : -ENOMEM;
    }
    if (r == 0)
        r = tlog_config_parse(store->config_text, strlen(store->config_text), &store->ground.config, error);
    if (r < 0)
        tlog_error_prefix(error, "topicfs.conf");
    store->ground.attr = (struct tlog_attr){0755, geteuid(), getegid()}; /* until somebody says otherwise */
    (void)tlog_attr_read(store->ground.io, store->ground.path, &store->ground.attr, NULL, NULL);
    return r == -EINVAL ? -EBADMSG : r;
}

static int open_journal(struct tlog_store *store, bool copied, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/journal", store->ground.path);
    int r = tlog_journal_open(&store->ground.journal, store->ground.io, path, store->id,
                              store->ground.options.journal_bytes, copied, error);
    store->ground.journal.on_failure = journal_failed;
    store->ground.journal.on_pressure = journal_pressed;
    store->ground.journal.arg = store;
    return r;
}

/* After a failed sync of the journal: recovery has put everything into files and synced them; its own files are
 * made anew. */
static int renew_journal(struct tlog_store *store, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    snprintf(path, sizeof path, "%s/failed", store->ground.path);
    if (store->ground.io->stat_path(store->ground.io, path, &st) < 0)
        return 0;
    int r = tlog_upkeep_flush_all(store);
    if (r == 0)
        r = tlog_journal_renew(&store->ground.journal);
    if (r == 0)
        r = store->ground.io->unlink(store->ground.io, path);
    if (r == 0)
        r = store->ground.io->sync_dir(store->ground.io, store->ground.path);
    if (r < 0)
        tlog_error_set(error, "making a new journal after a failed fsync: %s", strerror(-r));
    else
        tlog_ground_note(&store->ground, "after a failed fsync of the journal a new one was made");
    return r;
}

static int open_all(struct tlog_store *store, struct tlog_error *error)
{
    bool copied = false;
    int r = tlog_store_enter(store, &copied, error);
    bool moved = r == 1;
    if (r >= 0)
        r = store->ground.io->boot_id(store->ground.io, store->boot_id);
    if (r == 0)
        r = read_config(store, error);
    if (r == 0 && !store->ground.options.read_only)
        r = open_journal(store, copied, error);
    if (r == 0)
        r = tlog_store_recover(store, copied, error);
    if (r < 0 || store->ground.options.read_only)
        return r;
    r = tlog_journal_prepare(&store->ground.journal);
    if (r == -ENOSPC || r == -EDQUOT) {
        /* What is there can be read; what needs the journal gets the error until there is room. */
        tlog_ground_note(&store->ground, "no room for the journal: %s", strerror(-r));
        r = 0;
    }
    tlog_spare_keep(&store->ground);
    if (r == 0)
        r = renew_journal(store, error);
    if (r == 0 && moved)
        r = tlog_store_write_id(store);
    if (r == 0 && !store->ground.options.no_upkeep)
        r = tlog_upkeep_start(store);
    if (r == 0 && !store->ground.options.no_upkeep)
        r = tlog_maintain_start(store);
    return r;
}

static void store_free(struct tlog_store *store)
{
    tlog_upkeep_release(store);
    for (size_t i = 0; i < store->topic_count; i++)
        tlog_topic_unref(store->topics[i]);
    free(store->topics);
    if (store->ground.journal.io)
        tlog_journal_close(&store->ground.journal);
    tlog_frames_release(&store->ground.frames);
    tlog_handles_release(&store->ground.handles);
    tlog_clock_release(&store->ground.clock);
    tlog_damages_release(&store->ground.damages);
    if (store->lock_fd >= 0)
        store->ground.io->close(store->ground.io, store->lock_fd);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->ground.admin_lock);
    pthread_mutex_destroy(&store->ground.dirty_lock);
    pthread_mutex_destroy(&store->ground.gate_lock);
    pthread_cond_destroy(&store->ground.gate_opened);
    pthread_mutex_destroy(&store->round_lock);
    pthread_mutex_destroy(&store->maintain_lock);
    pthread_cond_destroy(&store->ground.wake);
    pthread_cond_destroy(&store->ground.wake_maintain);
    free(store->config_text);
    free(store->ground.path);
    free(store);
}

int tlog_store_open(struct tlog_store **out, const char *path, const struct tlog_options *options,
                    struct tlog_error *error)
{
    if (error)
        error->text[0] = 0;
    if (strlen(path) > TLOG_NAME_BYTES / 2)
        return -ENAMETOOLONG;
    struct tlog_store *store = calloc(1, sizeof *store);
    if (!store)
        return -ENOMEM;
    store->ground.options = *options;
    store->ground.io = options->io ? options->io : &tlog_io_posix;
    store->lock_fd = -1;
    store->ground.path = strdup(path);
    pthread_mutex_init(&store->lock, NULL);
    pthread_mutex_init(&store->ground.admin_lock, NULL);
    pthread_mutex_init(&store->ground.dirty_lock, NULL);
    pthread_mutex_init(&store->ground.gate_lock, NULL);
    pthread_cond_init(&store->ground.gate_opened, NULL);
    pthread_mutex_init(&store->round_lock, NULL);
    pthread_mutex_init(&store->maintain_lock, NULL);
    tlog_cond_init(&store->ground.wake);
    tlog_cond_init(&store->ground.wake_maintain);
    tlog_clock_init(&store->ground.clock);
    unsigned files = files_allowed(options), sealed = files / 4 < SEALED_OPEN_MOST ? files / 4 : SEALED_OPEN_MOST;
    tlog_handles_init(&store->ground.handles, store->ground.io, (files - sealed) / 2, sealed);
    tlog_frames_init(&store->ground.frames, TLOG_FRAMES_KEPT, !options->no_upkeep);
    pthread_mutex_init(&store->ground.damages.lock, NULL);
    store->ground.clock_offset_ns =
        store->ground.io->realtime_ns(store->ground.io) - store->ground.io->boottime_ns(store->ground.io);
    while (store->ground.producer == 0)
        store->ground.io->random(store->ground.io, &store->ground.producer, sizeof store->ground.producer);
    int r = store->ground.path ? open_all(store, error) : -ENOMEM;
    if (r < 0) {
        if (error && error->text[0] == 0)
            tlog_error_set(error, "%s", strerror(-r));
        tlog_error_prefix(error, "%s", path);
        tlog_maintain_stop(store);
        tlog_upkeep_stop(store);
        store_free(store);
        return r;
    }
    *out = store;
    return 0;
}

int tlog_store_close(struct tlog_store *store, struct tlog_error *error)
{
    tlog_maintain_stop(store);
    tlog_upkeep_stop(store);
    int r = tlog_store_sync(store);
    if (r < 0)
        tlog_error_set(error, "%s: closing: %s", store->ground.path, strerror(-r));
    store_free(store);
    return r;
}
