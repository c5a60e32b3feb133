/* The store's directory: making one, its lock, its id, and whether it is where it was. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/error.h"
#include "log/store.h"

/* ---- identity ---- */

void tlog_store_id_text(const uint8_t id[16], char to[37])
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

static uint64_t inode_of(struct tlog_store *store, const char *name)
{
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    snprintf(path, sizeof path, "%s/%s", store->ground.path, name);
    return store->ground.io->stat_path(store->ground.io, path, &st) == 0 ? st.inode : 0;
}

/* The id, and where the store was when that was written: the file's own inode and that of the topics, the filesystem,
 * the machine; and whether it is a copy that nobody has said anything of yet. */
int tlog_store_write_id(struct tlog_store *store)
{
    const struct tlog_io *io = store->ground.io;
    char path[TLOG_NAME_BYTES], temporary[TLOG_NAME_BYTES], text[320], id[37], machine[64] = "";
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
    tlog_store_id_text(store->id, id);
    int n = snprintf(
        text, sizeof text, "%s\ninode=%" PRIu64 "\nfilesystem=%016" PRIx64 "\nmachine=%s\ntopics=%" PRIu64 "\n%s", id,
        st.inode, fs.filesystem_id, machine, inode_of(store, "topics"), store->unsettled ? "copy=1\n" : "");
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

/* What the file says of where it was written. */
struct place {
    uint64_t inode, filesystem, topics; /* topics 0: it does not say */
    char machine[64];
    bool unsettled;
};

static int parse_place(const char *text, struct place *place)
{
    const char *line = strchr(text, '\n');
    *place = (struct place){0};
    if (!line || sscanf(line, "\ninode=%" SCNu64 "\nfilesystem=%" SCNx64 "\nmachine=%63s", &place->inode,
                        &place->filesystem, place->machine) < 1)
        return -EBADMSG;
    const char *topics = strstr(line, "\ntopics=");
    if (topics)
        (void)sscanf(topics, "\ntopics=%" SCNu64, &place->topics);
    place->unsettled = strstr(line, "\ncopy=1\n") != NULL;
    return 0;
}

/* Another inode: a copy. On a filesystem of another name both inodes must be others to be believed the same files: some
 * filesystems are called after the device that they are on. */
static bool is_copy(struct tlog_store *store, const struct place *place, uint64_t inode)
{
    struct tlog_io_statfs fs;
    if (inode != place->inode)
        return true;
    if (place->topics == 0 || store->ground.io->statfs(store->ground.io, store->ground.path, &fs) < 0)
        return false;
    return fs.filesystem_id != place->filesystem && inode_of(store, "topics") != place->topics;
}

static void tell_place(struct tlog_store *store, bool copied, bool moved)
{
    char id[37];
    tlog_store_id_text(store->id, id);
    if (copied)
        tlog_ground_note(&store->ground,
                         "this store is a copy of store %s, or was moved from another filesystem: its journal and "
                         "checkpoint are ignored, its logs believed as far as their ends verify",
                         id);
    else if (moved)
        tlog_ground_note(&store->ground, "this store was moved here from another machine");
    if (store->unsettled)
        tlog_ground_note(&store->ground,
                         "nobody has said yet what this copy is: topicctl adopt, if it takes the original's place; "
                         "topicctl clone, if the original lives on");
}

/* Reads the id; *copied when the file is not the one it was written as. */
static int read_id(struct tlog_store *store, bool *copied, struct tlog_error *error)
{
    char path[TLOG_NAME_BYTES], *text, now[64] = "";
    struct tlog_io_stat st;
    struct place place;
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
    if (r == 0)
        r = parse_place(text, &place);
    free(text);
    if (r < 0) {
        tlog_error_set(error, "id: not a store's id");
        return r;
    }
    *copied = is_copy(store, &place, st.inode);
    store->unsettled = place.unsettled || *copied;
    (void)store->ground.io->machine_id(store->ground.io, now);
    bool moved = strcmp(place.machine, now) != 0;
    tell_place(store, *copied, moved);
    return *copied || moved ? 1 : 0;
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
    return r < 0 ? r : tlog_store_write_id(store);
}

/* A start that was killed while it made the store may have left names that are not durable, the id's among them; so may
 * whoever made a copy. Once there is a checkpoint of the store's own there were later syncs of the directory. */
static int settle_names(struct tlog_store *store, bool copied)
{
    char checkpoint[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoint", store->ground.path);
    if (!copied && store->ground.io->stat_path(store->ground.io, checkpoint, &st) == 0)
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

int tlog_store_enter(struct tlog_store *store, bool *copied, struct tlog_error *error)
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
    r = read_id(store, copied, error);
    if (r < 0 || store->ground.options.read_only)
        return r < 0 ? r : 0;
    int settled = settle_names(store, *copied);
    return settled < 0 ? settled : r;
}
