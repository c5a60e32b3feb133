/* The trash: what is in it, looking into it, and emptying it.
 *
 * An item that is removed for good is renamed out of sight first, so that one that is only half there is never listed
 * or restored. What a kill left of that is removed by the maintenance. */
#include "log/trash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "log/error.h"
#include "log/spare.h"

#define HOUR_NS INT64_C(3600000000000)

static const char gone[] = ".gone.";

/* ---- what is in it ---- */

bool tlog_trash_is_item(const char *name)
{
    return name[0] != 0 && name[0] != '.' && !strchr(name, '/') && strlen(name) < 256;
}

/* The time at the end of an item's name. */
static int64_t time_of(const char *item)
{
    const char *dot = strrchr(item, '.');
    return dot ? strtoll(dot + 1, NULL, 10) : 0;
}

struct names {
    char **all;
    size_t count, room;
};

static int add_name(void *arg, const char *name)
{
    struct names *names = arg;
    if (names->count == names->room) {
        names->room = names->room ? 2 * names->room : 16;
        char **grown = realloc(names->all, names->room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        names->all = grown;
    }
    names->all[names->count] = strdup(name);
    return names->all[names->count++] ? 0 : -ENOMEM;
}

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->all[i]);
    free(names->all);
}

static int by_time(const void *a, const void *b)
{
    const char *left = *(char *const *)a, *right = *(char *const *)b;
    int64_t l = time_of(left), r = time_of(right);
    return l != r ? (l > r) - (l < r) : strcmp(left, right);
}

int tlog_trash_items(struct tlog_store *store, int (*each)(void *arg, const char *item), void *arg)
{
    char trash[TLOG_NAME_BYTES];
    struct names names = {0};
    snprintf(trash, sizeof trash, "%s/trash", store->ground.path);
    int r = store->ground.io->list(store->ground.io, trash, add_name, &names);
    if (r == -ENOENT)
        r = 0;
    if (r == 0 && names.count > 0)
        qsort(names.all, names.count, sizeof *names.all, by_time);
    for (size_t i = 0; r == 0 && i < names.count; i++)
        if (tlog_trash_is_item(names.all[i]))
            r = each(arg, names.all[i]);
    free_names(&names);
    return r;
}

static uint64_t disk_bytes_below(const struct tlog_io *io, const char *dir)
{
    struct names names = {0};
    uint64_t bytes = 0;
    (void)io->list(io, dir, add_name, &names);
    for (size_t i = 0; i < names.count; i++) {
        char path[TLOG_NAME_BYTES];
        struct tlog_io_stat st;
        if (names.all[i] && snprintf(path, sizeof path, "%s/%s", dir, names.all[i]) < (int)sizeof path &&
            io->stat_path(io, path, &st) == 0)
            bytes += st.directory ? disk_bytes_below(io, path) : st.disk_bytes;
    }
    free_names(&names);
    return bytes;
}

struct items {
    struct tlog_store *store;
    struct tlog_trash_item *all;
    size_t count, room;
};

static int add_item(void *arg, const char *name)
{
    struct items *items = arg;
    struct tlog_origin origin;
    char dir[TLOG_NAME_BYTES];
    if (tlog_origin_read(items->store, name, &origin) < 0) /* not ours, or just discarded */
        return 0;
    if (items->count == items->room) {
        items->room = items->room ? 2 * items->room : 16;
        struct tlog_trash_item *grown = realloc(items->all, items->room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        items->all = grown;
    }
    struct tlog_trash_item *item = &items->all[items->count++];
    *item = (struct tlog_trash_item){.partition = origin.partition, .removed_ns = origin.removed_ns};
    snprintf(item->name, sizeof item->name, "%s", name);
    snprintf(item->topic, sizeof item->topic, "%s", origin.topic);
    snprintf(dir, sizeof dir, "%s/trash/%s", items->store->ground.path, name);
    item->disk_bytes = disk_bytes_below(items->store->ground.io, dir);
    return 0;
}

int tlog_store_trash(struct tlog_store *store, struct tlog_trash_item **out, size_t *count)
{
    struct items items = {.store = store};
    int r = tlog_trash_items(store, add_item, &items);
    if (r < 0) {
        free(items.all);
        return r;
    }
    *out = items.all;
    *count = items.count;
    return 0;
}

/* ---- looking into it ---- */

/* The path of what lies at `path` in the trash; -ENOENT for what cannot be there. */
static int path_of(struct tlog_store *store, const char *path, char to[TLOG_NAME_BYTES])
{
    for (const char *part = path; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 0 || part[0] == '.')
            return -ENOENT;
        part += length;
        part += *part == '/';
    }
    int n = snprintf(to, TLOG_NAME_BYTES, "%s/trash%s%s", store->ground.path, path[0] ? "/" : "", path);
    return n < TLOG_NAME_BYTES ? 0 : -ENAMETOOLONG;
}

int tlog_trash_list(struct tlog_store *store, const char *path,
                    int (*each)(void *arg, const char *name, const struct stat *st), void *arg)
{
    const struct tlog_io *io = store->ground.io;
    char dir[TLOG_NAME_BYTES];
    struct names names = {0};
    int r = path_of(store, path, dir);
    if (r == 0)
        r = io->list(io, dir, add_name, &names);
    if (r == -ENOENT && path[0] == 0) /* nothing was ever removed */
        r = 0;
    for (size_t i = 0; r == 0 && i < names.count; i++) {
        char name[TLOG_NAME_BYTES];
        struct tlog_io_stat st;
        if (names.all[i][0] == '.' || snprintf(name, sizeof name, "%s/%s", dir, names.all[i]) >= (int)sizeof name ||
            io->stat_path(io, name, &st) < 0)
            continue;
        struct stat out = {
            .st_mode = st.directory ? S_IFDIR | 0500 : S_IFREG | 0400,
            .st_nlink = st.directory ? 2 : 1,
            .st_ino = st.inode,
            .st_size = (off_t)st.size_bytes,
            .st_blocks = (blkcnt_t)(st.disk_bytes / 512),
            .st_mtim = {st.mtime_ns / 1000000000, st.mtime_ns % 1000000000},
        };
        r = each(arg, names.all[i], &out);
    }
    free_names(&names);
    return r;
}

int tlog_trash_open(struct tlog_store *store, const char *path, struct tlog_segment_file **out)
{
    const struct tlog_io *io = store->ground.io;
    char name[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    int r = path_of(store, path, name);
    if (r == 0)
        r = io->stat_path(io, name, &st);
    if (r == 0 && st.directory)
        r = -EISDIR;
    int fd = r < 0 ? r : io->open(io, name, TLOG_IO_READ);
    return fd < 0 ? fd : tlog_segment_file_new(out, io, fd);
}

/* ---- emptying it ---- */

/* Takes the item out of sight; `to` gets where it is then. With the admin lock. */
static int hide(struct tlog_store *store, const char *item, char to[TLOG_NAME_BYTES])
{
    const struct tlog_io *io = store->ground.io;
    char from[TLOG_NAME_BYTES], trash[TLOG_NAME_BYTES];
    uint64_t number;
    int r = path_of(store, item, from);
    if (r < 0)
        return r;
    io->random(io, &number, sizeof number);
    snprintf(trash, sizeof trash, "%s/trash", store->ground.path);
    if (snprintf(to, TLOG_NAME_BYTES, "%s/%s%016llx", trash, gone, (unsigned long long)number) >= TLOG_NAME_BYTES)
        return -ENAMETOOLONG;
    r = io->rename(io, from, to);
    if (r == 0)
        (void)io->sync_dir(io, trash);
    return r;
}

int tlog_store_discard(struct tlog_store *store, const char *item, struct tlog_error *error)
{
    char hidden[TLOG_NAME_BYTES];
    int r = !tlog_trash_is_item(item)                                               ? -ENOENT
            : store->ground.options.read_only || atomic_load(&store->ground.failed) ? -EROFS
                                                                                    : 0;
    if (r == 0) {
        pthread_mutex_lock(&store->ground.admin_lock);
        r = hide(store, item, hidden);
        if (tlog_spare_use(&store->ground, r))
            r = hide(store, item, hidden);
        pthread_mutex_unlock(&store->ground.admin_lock);
    }
    if (r == 0)
        tlog_tree_remove(store->ground.io, hidden);
    tlog_spare_keep(&store->ground);
    if (r < 0)
        tlog_error_set(error, "%s: %s", item, r == -ENOENT ? "not in the trash" : strerror(-r));
    return r;
}

/* The key in force for an item, -1: it stays. */
static int64_t retention_ms(struct tlog_store *store, const char *item, const struct tlog_origin *origin)
{
    char path[TLOG_NAME_BYTES], *text = NULL;
    int64_t ms = -1;
    bool found = false;
    if (origin->partition < 0) { /* a topic took its configuration along, in a file that begins with its id */
        snprintf(path, sizeof path, "%s/trash/%s/topic.conf", store->ground.path, item);
        const char *rest = tlog_file_read(store->ground.io, path, &text, NULL) == 0 ? strchr(text, '\n') : NULL;
        found = rest && tlog_config_value(rest + 1, TLOG_TRASH_MS, &ms) == 1;
        free(text);
    } else {
        struct tlog_topic *topic =
            origin->has_id ? tlog_topic_by_id(store, origin->topic_id) : tlog_topic_get(store, origin->topic);
        found = topic != NULL;
        if (found)
            ms = tlog_topic_value(topic, TLOG_TRASH_MS);
        tlog_topic_unref(topic);
    }
    if (!found) {
        pthread_mutex_lock(&store->ground.admin_lock);
        ms = tlog_config_has(&store->ground.config, TLOG_TRASH_MS) ? store->ground.config.values[TLOG_TRASH_MS]
                                                                   : tlog_key_default(TLOG_TRASH_MS);
        pthread_mutex_unlock(&store->ground.admin_lock);
    }
    return ms;
}

struct expiry {
    struct tlog_store *store;
    int64_t now_ns, next_ns;
};

static int expire(void *arg, const char *item)
{
    struct expiry *expiry = arg;
    struct tlog_origin origin;
    if (tlog_ground_stopping(&expiry->store->ground))
        return 1;
    if (tlog_origin_read(expiry->store, item, &origin) < 0)
        return 0;
    int64_t ms = retention_ms(expiry->store, item, &origin);
    if (ms < 0)
        return 0;
    int64_t left_ns = origin.removed_ns + ms * 1000000 - expiry->now_ns;
    if (left_ns <= 0 && tlog_store_discard(expiry->store, item, NULL) == 0)
        return 0;
    if (left_ns <= 0 || left_ns > HOUR_NS) /* try again; the clock or the key may change */
        left_ns = HOUR_NS;
    if (expiry->next_ns < 0 || left_ns < expiry->next_ns)
        expiry->next_ns = left_ns;
    return 0;
}

static int remove_gone(void *arg, const char *name)
{
    struct names *names = arg;
    return strncmp(name, gone, sizeof gone - 1) == 0 ? add_name(names, name) : 0;
}

int64_t tlog_store_expire(struct tlog_store *store)
{
    const struct tlog_io *io = store->ground.io;
    char path[TLOG_NAME_BYTES];
    struct names names = {0};
    struct expiry expiry = {
        .store = store,
        .now_ns = tlog_clock_now(&store->ground.clock, io->realtime_ns(io), io->boottime_ns(io)),
        .next_ns = -1,
    };
    tlog_spare_keep(&store->ground); /* there may be room again */
    snprintf(path, sizeof path, "%s/trash", store->ground.path);
    if (io->list(io, path, remove_gone, &names) < 0) /* there is none yet */
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        snprintf(path, sizeof path, "%s/trash/%s", store->ground.path, names.all[i]);
        tlog_tree_remove(io, path);
    }
    free_names(&names);
    (void)tlog_trash_items(store, expire, &expiry);
    return expiry.next_ns;
}
