/* What is asked of an open store and set on it: status, space, the root's mode and configuration. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "log/store.h"

void tlog_store_recovery(struct tlog_store *store, struct tlog_recovery *out)
{
    *out = store->ground.recovery;
}

void tlog_store_status(struct tlog_store *store, struct tlog_store_status *out)
{
    struct tlog_topic **topics;
    size_t count;
    *out = (struct tlog_store_status){.failed = atomic_load(&store->ground.failed), .copied = store->unsettled};
    const struct tlog_io *io = store->ground.io;
    tlog_store_id_text(store->id, out->id);
    out->clock_doubted = !store->ground.options.read_only &&
                         tlog_clock_doubted(&store->ground.clock, io->realtime_ns(io), io->boottime_ns(io));
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
    pthread_mutex_lock(&store->ground.dirty_lock);
    memcpy(out->sealing, store->ground.sealing, sizeof out->sealing);
    out->unsealed_segments = store->ground.unsealed_segments;
    out->unsealed_ns = store->ground.unsealed_ns;
    pthread_mutex_unlock(&store->ground.dirty_lock);
    struct tlog_frames_status frames;
    tlog_frames_status(&store->ground.frames, &frames);
    out->frames = frames.frames;
    out->frames_found = frames.found;
    out->frames_decompressed = frames.decompressed;
    pthread_mutex_lock(&store->ground.handles.lock);
    out->open_files = 2ul * store->ground.handles.raw.count + store->ground.handles.sealed.count;
    pthread_mutex_unlock(&store->ground.handles.lock);
}

void tlog_store_damages(struct tlog_store *store, void (*each)(void *arg, const char *line), void *arg)
{
    tlog_damages_each(&store->ground.damages, each, arg);
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
