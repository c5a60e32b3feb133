/* The store: opening, its identity, its lock, its configuration, closing. */
#include "log/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "log/error.h"
#include "log/lock.h"

enum { SPARE_FILES = 128 };

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

/* ---- identity ---- */

static void id_text(const uint8_t id[16], char to[37])
{
    char *at = to;
    for (int i = 0; i < 16; i++)
        at += sprintf(at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", id[i]);
}

static int parse_id(const char *text, uint8_t id[16])
{
    int digits = 0;
    for (; *text && *text != '\n' && digits < 32; text++) {
        unsigned value;
        char one[2] = {*text, 0};
        if (*text == '-')
            continue;
        if (sscanf(one, "%x", &value) != 1)
            return -EBADMSG;
        id[digits / 2] = (uint8_t)(digits % 2 ? id[digits / 2] | value : value << 4);
        digits++;
    }
    return digits == 32 ? 0 : -EBADMSG;
}

/* The id, and where the store was when that was written: the file's own inode, the filesystem, the machine. */
static int write_id(struct tlog_store *store)
{
    const struct tlog_io *io = store->ground.io;
    char path[TLOG_NAME_BYTES], temporary[TLOG_NAME_BYTES], text[256], id[37], machine[64] = "";
    struct tlog_io_stat st;
    struct tlog_io_statfs fs = {0};
    snprintf(path, sizeof path, "%s/id", store->ground.path);
    snprintf(temporary, sizeof temporary, "%s/id.new", store->ground.path);
    int fd = io->open(io, temporary, TLOG_IO_WRITE | TLOG_IO_CREATE | TLOG_IO_TRUNCATE);
    if (fd < 0)
        return fd;
    int r = io->stat(io, fd, &st);
    (void)io->statfs(io, store->ground.path, &fs);
    (void)io->machine_id(io, machine);
    id_text(store->id, id);
    int n = snprintf(text, sizeof text, "%s\ninode=%" PRIu64 "\nfilesystem=%016" PRIx64 "\nmachine=%s\n", id, st.inode,
                     fs.filesystem_id, machine);
    struct iovec part = {text, (size_t)n};
    if (r == 0)
        r = io->pwritev(io, fd, &part, 1, 0);
    if (r == 0)
        r = io->sync(io, fd);
    io->close(io, fd);
    if (r == 0)
        r = io->rename(io, temporary, path);
    return r < 0 ? r : io->sync_dir(io, store->ground.path);
}

/* Reads the id; *copied when the file is not the one it was written as. */
static int read_id(struct tlog_store *store, bool *copied, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES], *text, machine[64] = "", now[64] = "";
    struct tlog_io_stat st;
    uint64_t inode = 0;
    snprintf(path, sizeof path, "%s/id", store->ground.path);
    int r = tlog_file_read(store->ground.io, path, &text, NULL);
    if (r < 0)
        return r;
    r = store->ground.io->stat_path(store->ground.io, path, &st);
    if (r < 0) {
        free(text);
        return r;
    }
    r = parse_id(text, store->id);
    const char *line = strchr(text, '\n');
    if (r == 0 && (!line || sscanf(line, "\ninode=%" SCNu64 "\nfilesystem=%*s\nmachine=%63s", &inode, machine) < 1))
        r = -EBADMSG;
    free(text);
    if (r < 0) {
        tlog_error_set(error, "id: not a store's id");
        return r;
    }
    *copied = inode != st.inode;
    (void)store->ground.io->machine_id(store->ground.io, now);
    if (*copied)
        tlog_ground_note(&store->ground,
                         "this store is a copy: its journal and checkpoint are ignored, its logs believed as "
                         "far as their ends verify");
    else if (strcmp(machine, now) != 0)
        tlog_ground_note(&store->ground, "this store was moved here from another machine");
    return *copied || strcmp(machine, now) != 0 ? 1 : 0;
}

/* ---- making one ---- */

static int foreign(void *arg, const char *name)
{
    static const char *const own[] = {"LOCK",         "topics",           "journal",    "id.new",
                                      "topicfs.conf", "topicfs.conf.new", "lost+found", "control"};
    (void)arg;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, own[i]) == 0)
            return 0;
    return 1;
}

static int any(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return 1;
}

/* The store's own directory may just have been made, here or by a start that was cut short. */
static int sync_parent(struct tlog_store *store)
{
    char parent[TLOG_NAME_BYTES];
    size_t length = strlen(store->ground.path);
    while (length > 0 && store->ground.path[length - 1] == '/')
        length--;
    while (length > 0 && store->ground.path[length - 1] != '/')
        length--;
    snprintf(parent, sizeof parent, "%.*s", (int)length, store->ground.path);
    return store->ground.io->sync_dir(store->ground.io, length > 0 ? parent : ".");
}

/* Makes a store in a directory that holds nothing else. The id comes last: before it, there is none. */
static int make_store(struct tlog_store *store, struct tlog_error *error)
{
    const struct tlog_io *io = store->ground.io;
    char path[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/topics", store->ground.path);
    int r = io->list(io, store->ground.path, foreign, NULL);
    if (r == 0 && io->list(io, path, any, NULL) > 0)
        r = 1;
    if (r == 1) {
        tlog_error_set(error, "neither a store nor empty");
        return -ENOTEMPTY;
    }
    if (r == 0)
        r = io->mkdir(io, path);
    if (r == 0 || r == -EEXIST)
        r = tlog_file_replace(io, store->ground.path, "topicfs.conf", "", 0);
    if (r == 0)
        r = sync_parent(store);
    store->ground.io->random(io, store->id, sizeof store->id);
    return r < 0 ? r : write_id(store);
}

/* A start that was killed while it made the store may have left names that are not durable, the id's among them.
 * Once there is a checkpoint there were later syncs of the directory. */
static int settle_names(struct tlog_store *store)
{
    char checkpoint[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint", store->ground.path);
    if (store->ground.io->stat_path(store->ground.io, checkpoint, &st) == 0)
        return 0;
    int r = sync_parent(store);
    return r < 0 ? r : store->ground.io->sync_dir(store->ground.io, store->ground.path);
}

static int take_lock(struct tlog_store *store, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/LOCK", store->ground.path);
    store->lock_fd = store->ground.io->open(store->ground.io, path, TLOG_IO_WRITE | TLOG_IO_CREATE);
    if (store->lock_fd < 0)
        return store->lock_fd;
    int r = store->ground.io->lock(store->ground.io, store->lock_fd);
    if (r == -EWOULDBLOCK)
        tlog_error_set(error, "another process has it open");
    return r;
}

/* Finds the directory or makes it, takes the lock, and knows the id. */
static int enter(struct tlog_store *store, bool *copied, struct tlog_error *error)
{
    const struct tlog_io *io = store->ground.io;
    struct tlog_io_stat st;
    char id[TLOG_NAME_BYTES];
    snprintf(id, sizeof id, "%s/id", store->ground.path);
    int r = io->stat_path(io, store->ground.path, &st);
    if (r == -ENOENT && store->ground.options.create)
        r = io->mkdir(io, store->ground.path);
    else if (r == 0 && !st.directory)
        r = -ENOTDIR;
    if (r < 0)
        return r;
    bool exists = io->stat_path(io, id, &st) == 0;
    if (!exists && !store->ground.options.create) {
        tlog_error_set(error, "not a store");
        return -ENOTEMPTY;
    }
    if (!exists && (r = io->list(io, store->ground.path, foreign, NULL)) != 0) {
        if (r == 1)
            tlog_error_set(error, "neither a store nor empty");
        return r == 1 ? -ENOTEMPTY : r;
    }
    if (!store->ground.options.read_only)
        r = take_lock(store, error);
    if (r < 0)
        return r;
    if (!exists)
        return make_store(store, error);
    r = store->ground.options.read_only ? 0 : settle_names(store);
    if (r < 0)
        return r;
    r = read_id(store, copied, error);
    return r == 1 && !store->ground.options.read_only ? 1 : r < 0 ? r : 0;
}

/* ---- opening ---- */

static unsigned handles_allowed(const struct tlog_options *options)
{
    unsigned files = options->max_files;
    struct rlimit limit;
    if (files == 0) {
        files = 1024;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
            files = limit.rlim_cur > 65536 ? 65536 : (unsigned)limit.rlim_cur;
        files = files > 2 * SPARE_FILES ? files - SPARE_FILES : files / 2;
    }
    return files / 2;
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
    int r = enter(store, &copied, error);
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
    if (r == 0)
        r = renew_journal(store, error);
    if (r == 0 && moved)
        r = write_id(store);
    if (r == 0 && !store->ground.options.no_upkeep)
        r = tlog_upkeep_start(store);
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
    tlog_handles_release(&store->ground.handles);
    if (store->lock_fd >= 0)
        store->ground.io->close(store->ground.io, store->lock_fd);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->ground.admin_lock);
    pthread_mutex_destroy(&store->ground.dirty_lock);
    pthread_mutex_destroy(&store->round_lock);
    pthread_cond_destroy(&store->ground.wake);
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
    pthread_mutex_init(&store->round_lock, NULL);
    tlog_cond_init(&store->ground.wake);
    tlog_handles_init(&store->ground.handles, store->ground.io, handles_allowed(options));
    store->ground.clock_offset_ns =
        store->ground.io->realtime_ns(store->ground.io) - store->ground.io->boottime_ns(store->ground.io);
    while (store->ground.producer == 0)
        store->ground.io->random(store->ground.io, &store->ground.producer, sizeof store->ground.producer);
    int r = store->ground.path ? open_all(store, error) : -ENOMEM;
    if (r < 0) {
        if (error && error->text[0] == 0)
            tlog_error_set(error, "%s", strerror(-r));
        tlog_error_prefix(error, "%s", path);
        tlog_upkeep_stop(store);
        store_free(store);
        return r;
    }
    *out = store;
    return 0;
}

int tlog_store_close(struct tlog_store *store, struct tlog_error *error)
{
    tlog_upkeep_stop(store);
    int r = tlog_store_sync(store);
    if (r < 0)
        tlog_error_set(error, "%s: closing: %s", store->ground.path, strerror(-r));
    store_free(store);
    return r;
}

/* ---- looking and setting ---- */

void tlog_store_recovery(struct tlog_store *store, struct tlog_recovery *out)
{
    *out = store->ground.recovery;
}

void tlog_store_status(struct tlog_store *store, struct tlog_store_status *out)
{
    struct tlog_topic **topics;
    size_t count;
    *out = (struct tlog_store_status){.failed = atomic_load(&store->ground.failed)};
    id_text(store->id, out->id);
    if (tlog_store_topics(store, &topics, &count) == 0) {
        out->topics = count;
        for (size_t i = 0; i < count; i++) {
            pthread_mutex_lock(&topics[i]->head.lock);
            for (unsigned k = 0; k < topics[i]->partition_count; k++)
                out->partitions += topics[i]->partitions[k] != NULL;
            pthread_mutex_unlock(&topics[i]->head.lock);
        }
        tlog_topics_free(topics, count);
    }
    if (store->ground.journal.io) {
        tlog_journal_usage(&store->ground.journal, &out->journal_bytes, &out->journal_used_bytes);
        pthread_mutex_lock(&store->ground.journal.lock);
        out->syncs = store->ground.journal.syncs;
        pthread_mutex_unlock(&store->ground.journal.lock);
    }
    pthread_mutex_lock(&store->ground.handles.lock);
    out->open_files = 2ul * store->ground.handles.count;
    pthread_mutex_unlock(&store->ground.handles.lock);
}

int tlog_store_statfs(struct tlog_store *store, struct statvfs *out)
{
    struct tlog_io_statfs fs;
    int r = store->ground.io->statfs(store->ground.io, store->ground.path, &fs);
    if (r < 0)
        return r;
    *out = (struct statvfs){
        .f_bsize = fs.block_bytes,
        .f_frsize = fs.block_bytes,
        .f_blocks = fs.blocks,
        .f_bfree = fs.blocks_free,
        .f_bavail = fs.blocks_available,
        .f_files = fs.files,
        .f_ffree = fs.files_free,
        .f_favail = fs.files_free,
        .f_fsid = fs.filesystem_id,
        .f_namemax = 249,
    };
    return 0;
}

void tlog_store_attr(struct tlog_store *store, struct tlog_attr *out)
{
    pthread_mutex_lock(&store->ground.admin_lock);
    *out = store->ground.attr;
    pthread_mutex_unlock(&store->ground.admin_lock);
}

int64_t tlog_store_mtime_ns(struct tlog_store *store)
{
    char topics[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    const struct tlog_io *io = store->ground.io;
    snprintf(topics, sizeof topics, "%s/topics", store->ground.path);
    return io->stat_path(io, topics, &st) == 0 ? st.mtime_ns : 0;
}

int tlog_store_set_attr(struct tlog_store *store, const struct tlog_attr *attr)
{
    if (store->ground.options.read_only || atomic_load(&store->ground.failed))
        return -EROFS;
    pthread_mutex_lock(&store->ground.admin_lock);
    int r = tlog_attr_write(store->ground.io, store->ground.path, attr, 0, UINT64_MAX);
    if (r == 0)
        store->ground.attr = *attr;
    pthread_mutex_unlock(&store->ground.admin_lock);
    return r;
}

int tlog_store_config_text(struct tlog_store *store, char **out)
{
    pthread_mutex_lock(&store->ground.admin_lock);
    *out = strdup(store->config_text);
    pthread_mutex_unlock(&store->ground.admin_lock);
    return *out ? 0 : -ENOMEM;
}

/* Every topic takes over what it inherits. */
static void settle_topics(struct tlog_store *store)
{
    struct tlog_topic **topics;
    size_t count;
    if (tlog_store_topics(store, &topics, &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&topics[i]->head.lock);
        tlog_topic_settle(topics[i]);
        pthread_mutex_unlock(&topics[i]->head.lock);
    }
    tlog_topics_free(topics, count);
}

int tlog_store_config_set(struct tlog_store *store, const char *text, bool replace, struct tlog_error *error)
{
    char *changed = NULL;
    struct tlog_config config;
    if (store->ground.options.read_only || atomic_load(&store->ground.failed))
        return -EROFS;
    pthread_mutex_lock(&store->ground.admin_lock);
    int r = tlog_config_change(store->config_text, text, replace, &changed, &config, error);
    if (r == 0) {
        r = tlog_file_replace(store->ground.io, store->ground.path, "topicfs.conf", changed, strlen(changed));
        if (r < 0) /* perhaps at its very end: a restart must not find what was refused */
            (void)tlog_file_replace(store->ground.io, store->ground.path, "topicfs.conf", store->config_text,
                                    strlen(store->config_text));
    }
    if (r == 0) {
        free(store->config_text);
        store->config_text = changed;
        store->ground.config = config;
        settle_topics(store);
        changed = NULL;
    }
    pthread_mutex_unlock(&store->ground.admin_lock);
    free(changed);
    return r;
}
