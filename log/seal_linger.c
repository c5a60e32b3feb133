/* What time does to segments: an active one that is old enough is rolled, and the raw files of sealed ones go when they
 * have lingered for seal.linger.ms since the sealed file was written. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "log/seal.h"
#include "log/sealed.h"

static const int64_t retry_ns = INT64_C(60000000000);

int64_t tlog_partition_age(struct tlog_partition *p)
{
    int64_t age_ms = tlog_value(p->topic, TLOG_SEGMENT_MS), left_ns = -1;
    pthread_mutex_lock(&p->lock);
    if (age_ms >= 0 && p->end > tlog_active(p)->pos && p->segment_first_ns != 0 && tlog_partition_refuses(p) == 0) {
        left_ns = p->segment_first_ns + age_ms * 1000000 - tlog_ground_time_ns(p->ground);
        if (left_ns <= 0) /* rolled, it has no records */
            left_ns = tlog_segment_roll(p) < 0 ? retry_ns : -1;
    }
    pthread_mutex_unlock(&p->lock);
    return left_ns;
}

/* ---- raw files ---- */

/* The first segment from number *i on that is there in both forms. With the lock. */
static bool next_lingering(const struct tlog_partition *p, unsigned *i)
{
    while (*i + 1 < p->segment_count && p->segments[*i].forms != (TLOG_RAW | TLOG_SEALED))
        ++*i;
    return *i + 1 < p->segment_count;
}

/* Opens the sealed file of segment i for a look at its ends. With the lock. */
static int open_sealed(struct tlog_partition *p, unsigned i)
{
    char path[TLOG_NAME_BYTES], name[TLOG_NAME_BYTES + 8];
    tlog_segment_path(p, p->segments[i].pos, path);
    snprintf(name, sizeof name, "%s.zst", path);
    return p->ground->io->open(p->ground->io, name, TLOG_IO_READ);
}

/* Whether the sealed file can take the place of the raw ones: nothing is removed on the word of a name alone. */
static int check_sealed(struct tlog_partition *p, int fd, uint64_t pos, uint64_t end, struct tlog_error *error)
{
    struct tlog_sealed *sealed;
    error->text[0] = 0;
    int r = fd < 0 ? fd : tlog_sealed_open(&sealed, p->ground->io, fd, pos, p->topic->id, error);
    if (r < 0)
        return r;
    if (sealed->end.pos != end) {
        snprintf(error->text, sizeof error->text, "the sealed file ends at position %" PRIu64, sealed->end.pos);
        r = -EBADMSG;
    }
    tlog_sealed_free(sealed);
    return r;
}

/* Unlinks the raw files of segment i; the handle keeps them open, so that no block is freed under the lock. */
static int unlink_raw(struct tlog_partition *p, unsigned i, struct tlog_handle **handle)
{
    char path[TLOG_NAME_BYTES], name[TLOG_NAME_BYTES + 8];
    const struct tlog_io *io = p->ground->io;
    if (tlog_segment_open(p, i, handle) == 0)
        tlog_handle_ref(*handle);
    tlog_segment_path(p, p->segments[i].pos, path);
    snprintf(name, sizeof name, "%s.idx", path);
    int r = io->unlink(io, name);
    if (r < 0 && r != -ENOENT)
        return r;
    snprintf(name, sizeof name, "%s.log", path);
    (void)io->unlink(io, name); /* without its index it is no form: what is left of it the next start removes */
    tlog_segment_form(p, i, TLOG_RAW, NULL);
    return 0;
}

/* Removes the raw files of the segment at `pos`, whose sealed file was checked with result `checked`. With the lock. */
static int let_go(struct tlog_partition *p, uint64_t pos, int checked, struct tlog_handle **handle)
{
    unsigned i = tlog_segment_find(p, pos);
    if (p->deleted || p->segments[i].pos != pos || p->segments[i].forms != (TLOG_RAW | TLOG_SEALED))
        return 0;
    if (checked == 0)
        return unlink_raw(p, i, handle);
    tlog_segment_form(p, i, TLOG_SEALED, NULL); /* it is sealed anew */
    return 0;
}

static bool is_damage(int r)
{
    return r == -EBADMSG || r == -ENOTSUP || r == -ENOENT || r == -EIO;
}

/* Removes one segment's raw files; *i is its number, and the next one's afterwards. */
static int let_next_go(struct tlog_partition *p, unsigned *i)
{
    uint64_t pos = p->segments[*i].pos, end = p->segments[*i + 1].pos;
    char name[256];
    struct tlog_handle *handle;
    struct tlog_error error;
    int fd = open_sealed(p, *i);
    snprintf(name, sizeof name, "%s", p->topic->name);
    pthread_mutex_unlock(&p->lock);
    int r = check_sealed(p, fd, pos, end, &error);
    if (is_damage(r))
        tlog_ground_damage(p->ground, "%s/%u: segment %" PRIu64 ": sealed file: %s: sealed again from the raw files",
                           name, p->number, pos, error.text[0] ? error.text : strerror(-r));
    pthread_mutex_lock(&p->lock);
    handle = NULL;
    r = r < 0 && !is_damage(r) ? r : let_go(p, pos, r, &handle);
    pthread_mutex_unlock(&p->lock);
    if (handle)
        tlog_handle_unref(handle);
    pthread_mutex_lock(&p->lock);
    *i = tlog_segment_find(p, pos);
    *i += p->segments[*i].pos <= pos;
    return r;
}

int64_t tlog_partition_unlinger(struct tlog_partition *p)
{
    const struct tlog_io *io = p->ground->io;
    int64_t linger_ns = tlog_value(p->topic, TLOG_SEAL_LINGER_MS) * 1000000, next_ns = -1;
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; tlog_partition_refuses(p) == 0 && next_lingering(p, &i);) {
        int64_t left_ns = p->segments[i].sealed_mtime_ns + linger_ns - io->realtime_ns(io);
        if (left_ns <= 0)
            left_ns = let_next_go(p, &i) < 0 ? retry_ns : -1;
        else
            i++;
        if (left_ns > 0 && (next_ns < 0 || left_ns < next_ns))
            next_ns = left_ns;
    }
    pthread_mutex_unlock(&p->lock);
    return next_ns;
}
