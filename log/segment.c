/* The segments of a partition: their open files in either form, what stands in their headers, and how they look from
 * outside. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/partition.h"

/* A file can be opened without the lock, by a name that a rename of the topic takes away meanwhile: how often that is
 * believed before the file counts as missing. */
enum { RENAMES_MOST = 8 };

/* ---- the list, with the lock ---- */

unsigned tlog_segment_find(const struct tlog_partition *p, uint64_t pos)
{
    unsigned low = 0, high = p->segment_count;
    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;
        if (p->segments[middle].pos <= pos)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint64_t tlog_segments_hash(const struct tlog_partition *p, uint64_t from, uint64_t to)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < p->segment_count; i++)
        if (p->segments[i].pos >= from && p->segments[i].pos <= to) {
            uint8_t bytes[8];
            tlog_put_u64(bytes, p->segments[i].pos);
            hash = tlog_hash(bytes, sizeof bytes, hash);
        }
    return hash;
}

int tlog_segment_add(struct tlog_partition *p, uint64_t pos, uint64_t seq, unsigned forms)
{
    struct tlog_segment *grown = realloc(p->segments, (p->segment_count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    p->segments = grown;
    for (unsigned i = 0; i < p->segment_count; i++)
        tlog_handle_moved(&grown[i].handle);
    grown[p->segment_count++] = (struct tlog_segment){.pos = pos, .seq = seq, .forms = forms};
    return 0;
}

void tlog_segment_form(struct tlog_partition *p, unsigned i, unsigned form, const struct tlog_io_stat *st)
{
    struct tlog_segment *segment = &p->segments[i];
    bool sealed = form == TLOG_SEALED;
    uint64_t *counted = sealed ? &segment->sealed_disk_bytes : &segment->raw_disk_bytes;
    uint64_t now = st ? st->disk_bytes : 0;
    p->closed_disk_bytes += now - *counted;
    *counted = now;
    if (sealed) {
        p->sealed_start = UINT64_MAX;
        segment->sealed_file_bytes = st ? st->size_bytes : 0;
        segment->sealed_mtime_ns = st ? st->mtime_ns : 0;
    }
    segment->forms = st ? segment->forms | form : segment->forms & ~form;
    if (!st && segment->handle && sealed == (segment->handle->sealed != NULL))
        tlog_handles_close(&p->ground->handles, &segment->handle);
}

uint64_t tlog_partition_sealed_bytes(struct tlog_partition *p)
{
    if (p->sealed_start == p->start)
        return p->sealed_bytes;
    p->sealed_bytes = 0;
    for (unsigned i = tlog_segment_first(p); i < p->segment_count; i++)
        if (p->segments[i].forms & TLOG_SEALED)
            p->sealed_bytes += (i + 1 < p->segment_count ? p->segments[i + 1].pos : p->end) - p->segments[i].pos;
    p->sealed_start = p->start;
    return p->sealed_bytes;
}

void tlog_segments_forget(struct tlog_partition *p, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        tlog_segment_form(p, i, TLOG_RAW, NULL);
        tlog_segment_form(p, i, TLOG_SEALED, NULL);
        tlog_handles_close(&p->ground->handles, &p->segments[i].handle);
    }
    p->segment_count -= count;
    memmove(p->segments, p->segments + count, p->segment_count * sizeof *p->segments);
    for (unsigned i = 0; i < p->segment_count; i++)
        tlog_handle_moved(&p->segments[i].handle);
}

int tlog_segment_unlink(struct tlog_partition *p, uint64_t pos)
{
    static const char *const suffixes[] = {"zst", "log", "idx"};
    char path[TLOG_NAME_BYTES], name[TLOG_NAME_BYTES + 8];
    int result = 0;
    tlog_segment_path(p, pos, path);
    for (unsigned i = 0; i < 3 && result == 0; i++) {
        snprintf(name, sizeof name, "%s.%s", path, suffixes[i]);
        int r = p->ground->io->unlink(p->ground->io, name);
        result = r == -ENOENT ? 0 : r;
    }
    return result;
}

/* The number of the segment that begins at pos; segment_count: it is gone. */
static unsigned find_exactly(const struct tlog_partition *p, uint64_t pos)
{
    unsigned i = p->segment_count > 0 ? tlog_segment_find(p, pos) : 0;
    return i < p->segment_count && p->segments[i].pos == pos ? i : p->segment_count;
}

/* ---- open files ---- */

static void use(const struct tlog_segment *segment)
{
    atomic_store_explicit(&segment->handle->used, true, memory_order_relaxed);
}

static int open_raw(struct tlog_partition *p, struct tlog_segment *segment)
{
    char path[TLOG_NAME_BYTES];
    tlog_segment_path(p, segment->pos, path);
    return tlog_handles_open(&p->ground->handles, path, p->ground->options.read_only ? TLOG_IO_READ : TLOG_IO_WRITE,
                             &segment->handle, &p->lock, &p->sync_error);
}

/* Whether reading has to open the .zst: the raw files are gone, also if nobody told. */
static int open_unless_sealed(struct tlog_partition *p, unsigned i)
{
    struct tlog_segment *segment = &p->segments[i];
    if (segment->handle) {
        use(segment);
        return 0;
    }
    if (p->deleted && !p->trash) /* its name may be another's by now */
        return -ESTALE;
    if (!(segment->forms & TLOG_RAW))
        return 1;
    int r = open_raw(p, segment);
    if (r == -ENOENT && (segment->forms & TLOG_SEALED)) {
        tlog_segment_form(p, i, TLOG_RAW, NULL);
        return 1;
    }
    return r == -ENOENT && p->deleted ? -ESTALE : r; /* the trash was emptied */
}

int tlog_segment_open(struct tlog_partition *p, unsigned i, struct tlog_handle **out)
{
    struct tlog_segment *segment = &p->segments[i];
    int r = open_unless_sealed(p, i);
    if (r == 1) {
        char path[TLOG_NAME_BYTES];
        struct tlog_handle *handle;
        tlog_segment_path(p, segment->pos, path);
        r = tlog_handle_open_sealed(p->ground->io, path, segment->pos, p->topic->id, &handle, NULL);
        if (r == 0)
            tlog_handles_keep(&p->ground->handles, handle, &segment->handle, &p->lock);
    }
    *out = segment->handle;
    return r;
}

void tlog_segment_damage(struct tlog_partition *p, uint64_t pos, const char *format, ...)
{
    char topic[256], what[512];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    pthread_mutex_lock(&p->lock);
    snprintf(topic, sizeof topic, "%s", p->topic->name);
    pthread_mutex_unlock(&p->lock);
    tlog_ground_damage(p->ground, "%s/%u/%020" PRIu64 ".zst: %s", topic, p->number, pos, what);
}

/* Opens the .zst of the segment at held->pos, whose path was `path`, without the lock: a slow disk must not stop
 * producers. Keeps it as the segment's own if that is still wanted. -EAGAIN, unless this is the `last` try: it was not
 * there, as it may be called otherwise now, or be gone with its segment. */
static int hold_sealed(struct tlog_partition *p, const char *path, struct tlog_held *held, bool last)
{
    struct tlog_error error = {0};
    struct tlog_handle *handle;
    int r = tlog_handle_open_sealed(p->ground->io, path, held->pos, p->topic->id, &handle, &error);
    if (r == -ENOENT && !last)
        return -EAGAIN;
    pthread_mutex_lock(&p->lock);
    bool deleted = p->deleted;
    if (r == 0) {
        unsigned i = find_exactly(p, held->pos);
        held->handle = tlog_handle_ref(handle);
        if (i < p->segment_count && !p->segments[i].handle)
            tlog_handles_keep(&p->ground->handles, handle, &p->segments[i].handle, &p->lock);
        else
            tlog_handle_unref(handle);
    }
    pthread_mutex_unlock(&p->lock);
    if (r == -ENOENT && deleted) /* the trash was emptied */
        return -ESTALE;
    if (r != -ENOENT && r != -EIO && r != -EBADMSG && r != -ENOTSUP)
        return r;
    tlog_segment_damage(p, held->pos, "%s", error.text[0] ? error.text : strerror(-r));
    return -EIO;
}

/* One try to hold segment number i. 1: `path` is to be opened without the lock. */
static int hold(struct tlog_partition *p, unsigned i, struct tlog_held *held, char path[TLOG_NAME_BYTES])
{
    bool active = i + 1 == p->segment_count;
    held->pos = p->segments[i].pos;
    held->end = active ? p->end : p->segments[i + 1].pos;
    held->idx_bytes = active ? p->idx_bytes : 0;
    int r = open_unless_sealed(p, i);
    if (r == 0)
        held->handle = tlog_handle_ref(p->segments[i].handle);
    else if (r == 1)
        tlog_segment_path(p, held->pos, path);
    return r;
}

/* Holds the segment that has pos, or (`exactly`) begins there. */
static int hold_at(struct tlog_partition *p, uint64_t pos, bool exactly, struct tlog_held *held)
{
    char path[TLOG_NAME_BYTES];
    int r = -EAGAIN;
    for (unsigned tries = 1; r == -EAGAIN; tries++) {
        *held = (struct tlog_held){0};
        pthread_mutex_lock(&p->lock);
        unsigned i = exactly ? find_exactly(p, pos) : tlog_segment_find(p, pos);
        if (i == p->segment_count || pos < p->segments[i].pos)
            r = -ESTALE;
        else if (!exactly && pos >= p->end)
            r = 0;
        else
            r = hold(p, i, held, path);
        pthread_mutex_unlock(&p->lock);
        if (r == 1)
            r = hold_sealed(p, path, held, tries == RENAMES_MOST);
    }
    return r;
}

int tlog_segment_hold(struct tlog_partition *p, uint64_t pos, struct tlog_held *held)
{
    return hold_at(p, pos, false, held);
}

int tlog_segment_hold_exactly(struct tlog_partition *p, uint64_t pos, struct tlog_held *held)
{
    return hold_at(p, pos, true, held);
}

/* ---- headers and indexes ---- */

int tlog_held_scan(const struct tlog_held *held, struct tlog_scan *scan)
{
    const struct tlog_io *io = held->handle->io;
    struct tlog_io_stat idx = {.size_bytes = held->idx_bytes};
    int r = held->idx_bytes > 0 ? 0 : io->stat(io, held->handle->idx_fd, &idx);
    *scan = (struct tlog_scan){.io = io,
                               .log_fd = held->handle->log_fd,
                               .idx_fd = held->handle->idx_fd,
                               .segment_pos = held->pos,
                               .idx_foff = TLOG_INDEX_HEADER_BYTES,
                               .idx_bytes = idx.size_bytes};
    return r;
}

int tlog_held_header(const struct tlog_held *held, struct tlog_index_header *out)
{
    const struct tlog_handle *handle = held->handle;
    uint8_t bytes[TLOG_INDEX_HEADER_BYTES];
    if (handle->sealed) {
        *out = handle->sealed->header;
        return 0;
    }
    ssize_t n = handle->io->pread(handle->io, handle->idx_fd, bytes, sizeof bytes, 0);
    return n < 0 ? (int)n : n < (ssize_t)sizeof bytes ? -EBADMSG : tlog_index_header_decode(out, bytes);
}

int tlog_segment_seq(struct tlog_partition *p, uint64_t pos, uint64_t *seq)
{
    struct tlog_index_header header;
    struct tlog_held held;
    pthread_mutex_lock(&p->lock);
    unsigned i = find_exactly(p, pos);
    bool there = i < p->segment_count, known = there && (p->segments[i].seq != 0 || pos == 0);
    if (known)
        *seq = p->segments[i].seq;
    pthread_mutex_unlock(&p->lock);
    if (known || !there)
        return known ? 0 : -ESTALE;
    int r = tlog_segment_hold_exactly(p, pos, &held);
    if (r < 0)
        return r;
    r = tlog_held_header(&held, &header);
    tlog_handle_unref(held.handle);
    if (r < 0)
        return r;
    *seq = header.seq;
    pthread_mutex_lock(&p->lock);
    i = find_exactly(p, pos);
    if (i < p->segment_count)
        p->segments[i].seq = header.seq;
    pthread_mutex_unlock(&p->lock);
    return 0;
}

/* ---- seen from outside ---- */

int tlog_partition_segments(struct tlog_partition *partition, struct tlog_segment_info **out, size_t *count)
{
    struct tlog_partition *p = partition;
    pthread_mutex_lock(&p->lock);
    unsigned first = tlog_segment_find(p, p->start);
    struct tlog_segment_info *infos = malloc((p->segment_count - first) * sizeof *infos);
    for (unsigned i = first; infos && i < p->segment_count; i++) {
        const struct tlog_segment *segment = &p->segments[i];
        bool active = i + 1 == p->segment_count;
        infos[i - first] = (struct tlog_segment_info){
            .pos = segment->pos,
            .end = active ? p->end : p->segments[i + 1].pos,
            .sealed = segment->forms & TLOG_SEALED,
            .disk_bytes = active ? tlog_active_disk_bytes(p) : segment->raw_disk_bytes + segment->sealed_disk_bytes,
            .file_bytes = segment->sealed_file_bytes,
            .mtime_ns = segment->sealed_mtime_ns,
        };
    }
    *out = infos;
    *count = infos ? p->segment_count - first : 0;
    pthread_mutex_unlock(&p->lock);
    return infos ? 0 : -ENOMEM;
}

struct tlog_segment_file {
    const struct tlog_io *io;
    int fd;
};

int tlog_segment_file_new(struct tlog_segment_file **out, const struct tlog_io *io, int fd)
{
    *out = malloc(sizeof **out);
    if (!*out) {
        io->close(io, fd);
        return -ENOMEM;
    }
    **out = (struct tlog_segment_file){io, fd};
    return 0;
}

/* The path of the sealed segment at pos; -ENOENT there is none. */
static int sealed_path(struct tlog_partition *p, uint64_t pos, char to[TLOG_NAME_BYTES])
{
    char path[TLOG_NAME_BYTES];
    pthread_mutex_lock(&p->lock);
    unsigned i = find_exactly(p, pos);
    bool there = i < p->segment_count && (p->segments[i].forms & TLOG_SEALED) && !(p->deleted && !p->trash);
    tlog_segment_path(p, pos, path);
    pthread_mutex_unlock(&p->lock);
    if (snprintf(to, TLOG_NAME_BYTES, "%s.zst", path) >= TLOG_NAME_BYTES)
        return -ENAMETOOLONG;
    return there ? 0 : -ENOENT;
}

int tlog_segment_file_open(struct tlog_partition *partition, uint64_t pos, struct tlog_segment_file **out)
{
    const struct tlog_io *io = partition->ground->io;
    char path[TLOG_NAME_BYTES];
    int fd = -ENOENT;
    for (unsigned tries = 0; fd == -ENOENT && tries < RENAMES_MOST; tries++) {
        int r = sealed_path(partition, pos, path);
        if (r < 0)
            return r;
        fd = io->open(io, path, TLOG_IO_READ);
    }
    return fd < 0 ? fd : tlog_segment_file_new(out, io, fd);
}

ssize_t tlog_segment_file_read(struct tlog_segment_file *file, uint64_t foff, void *to, size_t length)
{
    return file->io->pread(file->io, file->fd, to, length, foff);
}

void tlog_segment_file_close(struct tlog_segment_file *file)
{
    if (!file)
        return;
    file->io->close(file->io, file->fd);
    free(file);
}
