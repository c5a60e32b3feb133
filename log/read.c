/* Reading: views and copies. Of raw segments a view is the mapped .log, of sealed ones a frame that the cache holds; what
 * comes from disk there is read, never mapped, so that a disk error is the error of one read. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "log/partition.h"

enum {
    MAP_SLACK_BYTES = 4 << 20, /* a segment outgrows segment.bytes by its last append */
    READ_AHEAD_BYTES = 8 << 20,
    READ_AHEAD_SEALED_BYTES = 4 << 20, /* of a .zst */
};

/* The handle's mapping, made when first wanted, wide enough for the segment to grow. Without the lock. */
static int map_handle(struct tlog_partition *p, struct tlog_handle *handle, uint64_t segment_bytes)
{
    if (handle->map)
        return 0;
    uint64_t bytes = (uint64_t)tlog_value(p->topic, TLOG_SEGMENT_BYTES);
    if (bytes < segment_bytes)
        bytes = segment_bytes;
    bytes = (bytes + MAP_SLACK_BYTES + 4095) & ~(uint64_t)4095;
    const void *map;
    pthread_mutex_lock(&p->lock);
    int r = handle->map ? 0 : handle->io->map(handle->io, handle->log_fd, bytes, &map);
    if (r == 0 && !handle->map) {
        handle->map_bytes = bytes;
        handle->map = map;
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

/* ---- frames of sealed segments ---- */

/* A frame, and where a place in the log is in it. Told when it is corrupt. */
static int get_frame(struct tlog_partition *p, const struct tlog_held *held, uint64_t foff, struct tlog_frame **out)
{
    struct tlog_frame_key key = {p->log, held->pos, (uint32_t)(foff / TLOG_FRAME_BYTES)};
    int r = foff < tlog_sealed_bytes(held->handle->sealed)
                ? tlog_frames_get(&p->ground->frames, held->handle, &key, out)
                : -EBADMSG;
    if (r == -EBADMSG || r == -EIO) {
        uint64_t from = held->pos + (uint64_t)key.number * TLOG_FRAME_BYTES;
        tlog_segment_damage(p, held->pos, "frame %" PRIu32 " (positions from %" PRIu64 " on): %s", key.number, from,
                            r == -EIO ? "cannot be read" : "corrupt");
        r = -EIO;
    }
    return r;
}

/* The file of a reader who goes on, past the frames up to `end`. */
static void read_ahead_file(const struct tlog_sealed *sealed, uint32_t first, uint32_t end)
{
    enum { STEP_BYTES = READ_AHEAD_SEALED_BYTES / 4 };
    uint64_t from = sealed->frame_foffs[first < sealed->frames ? first : sealed->frames];
    uint64_t to = sealed->frame_foffs[end < sealed->frames ? end : sealed->frames];
    if (first == 0 || from / STEP_BYTES != to / STEP_BYTES)
        sealed->io->readahead(sealed->io, sealed->fd, to, READ_AHEAD_SEALED_BYTES);
}

/* Reads ahead after [foff, foff + length): the rest of a request that begins there, and more for a reader who goes on. */
static void order_frames(struct tlog_partition *p, const struct tlog_held *held, uint64_t foff, size_t length,
                         bool sequential)
{
    uint32_t first = (uint32_t)(foff / TLOG_FRAME_BYTES), last = (uint32_t)((foff + length - 1) / TLOG_FRAME_BYTES);
    struct tlog_frame_key next = {p->log, held->pos, first + 1};
    uint32_t end = last + 1 + (sequential ? TLOG_FRAMES_AHEAD : 0);
    if (sequential)
        read_ahead_file(held->handle->sealed, first, end);
    if (end > next.number)
        tlog_frames_ahead(&p->ground->frames, held->handle, &next, end);
}

static int view_frame(struct tlog_partition *p, const struct tlog_held *held, uint64_t foff, size_t length,
                      bool sequential, struct tlog_view *out)
{
    struct tlog_frame *frame;
    order_frames(p, held, foff, length, sequential);
    int r = get_frame(p, held, foff, &frame);
    if (r < 0)
        return r;
    size_t in = foff % TLOG_FRAME_BYTES, have = frame->bytes - in;
    *out = (struct tlog_view){frame->data + in, have < length ? have : length, &frame->hold};
    return 0;
}

/* ---- views ---- */

static int view_raw(struct tlog_partition *p, const struct tlog_held *held, uint64_t foff, size_t length,
                    bool sequential, struct tlog_view *out)
{
    struct tlog_handle *handle = held->handle;
    int r = map_handle(p, handle, held->end - held->pos);
    if (r < 0)
        return r;
    if (foff >= handle->map_bytes)
        return -ENOMEM; /* segment.bytes was raised since: copy instead */
    uint64_t mapped = handle->map_bytes - foff;
    *out = (struct tlog_view){handle->map + foff, mapped < length ? mapped : length, &handle->hold};
    tlog_handle_ref(handle);
    if (sequential && foff / (READ_AHEAD_BYTES / 2) != (foff + out->length) / (READ_AHEAD_BYTES / 2))
        handle->io->readahead(handle->io, handle->log_fd, foff + out->length, READ_AHEAD_BYTES);
    return 0;
}

int tlog_partition_view(struct tlog_partition *partition, uint64_t pos, size_t length, bool sequential,
                        struct tlog_view *out)
{
    struct tlog_held held;
    *out = (struct tlog_view){0};
    int r = tlog_segment_hold(partition, pos, &held);
    if (r < 0 || !held.handle)
        return r;
    if (length > held.end - pos)
        length = held.end - pos;
    if (length > 0)
        r = held.handle->sealed ? view_frame(partition, &held, pos - held.pos, length, sequential, out)
                                : view_raw(partition, &held, pos - held.pos, length, sequential, out);
    tlog_handle_unref(held.handle);
    return r;
}

void tlog_view_release(struct tlog_view *view)
{
    struct tlog_hold *hold = view->hold;
    view->hold = NULL;
    if (hold)
        hold->release(hold);
}

/* ---- copies ---- */

static ssize_t copy_frame(struct tlog_partition *p, const struct tlog_held *held, uint64_t foff, void *to,
                          size_t length)
{
    struct tlog_view view;
    int r = view_frame(p, held, foff, length, false, &view);
    if (r < 0)
        return r;
    memcpy(to, view.data, view.length);
    tlog_view_release(&view);
    return (ssize_t)view.length;
}

static ssize_t copy_raw(const struct tlog_held *held, uint64_t foff, void *to, size_t length)
{
    ssize_t n = held->handle->io->pread(held->handle->io, held->handle->log_fd, to, length, foff);
    return n >= 0 && (size_t)n < length ? -EIO : n; /* the file is shorter than the index says */
}

/* Copies from one segment; 0 only at the end. */
static ssize_t read_some(struct tlog_partition *p, uint64_t pos, uint8_t *to, size_t length)
{
    struct tlog_held held;
    int r = tlog_segment_hold(p, pos, &held);
    if (r < 0 || !held.handle)
        return r;
    if (length > held.end - pos)
        length = held.end - pos;
    ssize_t n = held.handle->sealed ? copy_frame(p, &held, pos - held.pos, to, length)
                                    : copy_raw(&held, pos - held.pos, to, length);
    tlog_handle_unref(held.handle);
    return n;
}

ssize_t tlog_partition_read(struct tlog_partition *partition, uint64_t pos, void *to, size_t length)
{
    size_t done = 0;
    while (done < length) {
        ssize_t n = read_some(partition, pos + done, (uint8_t *)to + done, length - done);
        if (n < 0)
            return done > 0 ? (ssize_t)done : n;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}
