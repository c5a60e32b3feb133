/* Finding records by number, time and position in segments of either form.
 *
 * The search is for the state at the instant it begins: what is appended meanwhile does not matter, and what is trimmed
 * away under it makes it begin anew. The lock is held for moments only, since an index may have to come from a slow
 * disk. Of a sealed segment no data is decompressed but the frame in which the record found begins. */
#include <errno.h>
#include <stdlib.h>

#include "log/partition.h"

/* ---- entries ---- */

/* Whether an entry ends before what is looked for. */
static bool before(const struct tlog_entry *entry, enum tlog_by by, uint64_t value)
{
    if (by == TLOG_BY_SEQ)
        return entry->seq + entry->records <= value;
    if (by == TLOG_BY_TIME)
        return entry->time_ns < (int64_t)value;
    return entry->pos + entry->length_bytes <= value;
}

/* The first entry with records that is not before `value`; *out is left alone when there is none. */
static int find_raw(const struct tlog_held *held, enum tlog_by by, uint64_t value, struct tlog_entry *out)
{
    struct tlog_scan scan;
    struct tlog_entry entry = {0};
    int r = tlog_held_scan(held, &scan);
    if (r < 0)
        return r;
    uint64_t low = 0, high = tlog_scan_entries(&scan), end = high;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        r = tlog_scan_entry(&scan, middle, &entry);
        if (r < 0)
            return r;
        if (before(&entry, by, value))
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < end; low++) { /* an epoch's beginning has no records */
        r = tlog_scan_entry(&scan, low, &entry);
        if (r == 0 && entry.length_bytes > 0)
            *out = entry;
        if (r < 0 || entry.length_bytes > 0)
            return r;
    }
    return 0;
}

/* The same in a sealed one. */
static int find_sealed(const struct tlog_sealed *sealed, enum tlog_by by, uint64_t value, struct tlog_entry *out)
{
    uint32_t group;
    bool found = false;
    int r = tlog_sealed_find_group(sealed, by, value, &group);
    for (; r == 0 && !found && group < sealed->groups; group++) {
        struct tlog_point at;
        struct tlog_entry *entries;
        size_t count;
        r = tlog_sealed_group(sealed, group, &at, &entries, &count);
        if (r < 0)
            return r;
        for (size_t i = 0; i < count && !found; i++) {
            found = entries[i].length_bytes > 0 && !before(&entries[i], by, value);
            if (found)
                *out = entries[i];
        }
        free(entries);
    }
    return r;
}

static int find_held(struct tlog_partition *p, const struct tlog_held *held, enum tlog_by by, uint64_t value,
                     struct tlog_entry *out)
{
    if (!held->handle->sealed)
        return find_raw(held, by, value, out);
    int r = find_sealed(held->handle->sealed, by, value, out);
    if (r == -EBADMSG) {
        tlog_segment_damage(p, held->pos, "its index is corrupt");
        r = -EIO;
    }
    return r;
}

/* ---- segments ---- */

/* What is searched: the log as it was at one instant. */
struct search {
    struct tlog_partition *p;
    enum tlog_by by;
    uint64_t value;
    uint64_t start, end, end_seq;
    uint64_t active_pos, idx_bytes;
    struct tlog_entry open; /* length 0: none */
};

static void begin(struct search *s)
{
    struct tlog_partition *p = s->p;
    pthread_mutex_lock(&p->lock);
    s->start = p->start;
    s->end = p->end;
    s->end_seq = p->end_seq;
    s->active_pos = tlog_active(p)->pos;
    s->idx_bytes = p->idx_bytes;
    s->open = (struct tlog_entry){0};
    if (p->open && p->open->entry.length_bytes > 0)
        s->open = p->open->entry;
    pthread_mutex_unlock(&p->lock);
}

/* Holds a segment as it was when the search began. */
static int hold(const struct search *s, uint64_t pos, struct tlog_held *held)
{
    int r = tlog_segment_hold_exactly(s->p, pos, held);
    if (r == 0 && held->pos == s->active_pos)
        held->idx_bytes = s->idx_bytes;
    return r;
}

/* Whether all that comes before the segment at pos is before what is looked for. */
static int follows(const struct search *s, uint64_t pos, bool *out)
{
    struct tlog_index_header header;
    struct tlog_held held;
    *out = pos <= s->value;
    if (s->by == TLOG_BY_POS)
        return 0;
    if (s->by == TLOG_BY_SEQ) {
        uint64_t seq;
        int r = tlog_segment_seq(s->p, pos, &seq);
        *out = r == 0 && seq <= s->value;
        return r;
    }
    int r = tlog_segment_hold_exactly(s->p, pos, &held);
    if (r < 0)
        return r;
    r = tlog_held_header(&held, &header);
    tlog_handle_unref(held.handle);
    *out = r == 0 && header.time_ns < (int64_t)s->value;
    return r;
}

/* The pos of the segment in the middle between those that have `low` and `high`; high's own when they are neighbours. */
static uint64_t middle_of(const struct search *s, uint64_t low, uint64_t high)
{
    struct tlog_partition *p = s->p;
    pthread_mutex_lock(&p->lock);
    unsigned a = tlog_segment_find(p, low), b = tlog_segment_find(p, high);
    uint64_t pos = p->segments[a + (b - a + 1) / 2].pos;
    pthread_mutex_unlock(&p->lock);
    return pos;
}

/* The pos of the segment after the one that has pos. */
static uint64_t next_of(const struct search *s, uint64_t pos)
{
    struct tlog_partition *p = s->p;
    pthread_mutex_lock(&p->lock);
    unsigned i = tlog_segment_find(p, pos);
    uint64_t next = i + 1 < p->segment_count ? p->segments[i + 1].pos : UINT64_MAX;
    pthread_mutex_unlock(&p->lock);
    return next;
}

/* The last segment of which all that comes before is before what is looked for: the entry is in there, or in the next
 * one that has any. */
static int find_segment(const struct search *s, uint64_t *out)
{
    uint64_t low = s->start, high = s->active_pos;
    while (low < high) {
        uint64_t middle = middle_of(s, low, high);
        bool after;
        int r = follows(s, middle, &after);
        if (r < 0)
            return r;
        if (after) {
            low = middle;
        } else {
            pthread_mutex_lock(&s->p->lock);
            unsigned i = tlog_segment_find(s->p, middle);
            high = i > 0 ? s->p->segments[i - 1].pos : low;
            pthread_mutex_unlock(&s->p->lock);
        }
    }
    *out = low;
    return 0;
}

/* The entry that holds what is looked for, the open one included; length 0 when it lies past the end. */
static int search(const struct search *s, struct tlog_entry *out)
{
    struct tlog_held held;
    uint64_t pos;
    out->length_bytes = 0;
    int r = find_segment(s, &pos);
    while (r == 0 && out->length_bytes == 0 && pos <= s->active_pos) {
        r = hold(s, pos, &held);
        if (r < 0)
            return r;
        r = find_held(s->p, &held, s->by, s->value, out);
        tlog_handle_unref(held.handle);
        pos = next_of(s, pos);
    }
    if (r == 0 && out->length_bytes == 0 && s->open.length_bytes > 0 && !before(&s->open, s->by, s->value))
        *out = s->open;
    return r;
}

/* ---- records ---- */

/* Walks the records of one entry to the first with at least this number, or that begins at or after `at`. */
static int walk(struct tlog_partition *p, const struct tlog_entry *entry, uint64_t seq, uint64_t at, uint64_t *pos,
                uint64_t *found_seq)
{
    enum { PIECE = 64 << 10 };
    uint64_t here = entry->pos, number = entry->seq, end = entry->pos + entry->length_bytes;
    char *buffer = NULL;
    ssize_t n = 0;
    bool raw = entry->records == 1;
    if (raw && (number < seq || here < at)) {
        here = end;
        number++;
    }
    uint64_t read_pos = here;
    while (n >= 0 && (number < seq || here < at) && read_pos < end) {
        if (!buffer && !(buffer = malloc(PIECE)))
            return -ENOMEM;
        n = tlog_partition_read(p, read_pos, buffer, end - read_pos < PIECE ? end - read_pos : PIECE);
        for (char *from = buffer, *newline;
             n > 0 && (number < seq || here < at) && (newline = memchr(from, '\n', (size_t)(buffer + n - from)));
             from = newline + 1) {
            here = read_pos + (uint64_t)(newline + 1 - buffer);
            number++;
        }
        if (n == 0)
            n = -EIO;
        read_pos += n > 0 ? (uint64_t)n : 0;
    }
    free(buffer);
    if (n < 0)
        return (int)n;
    *pos = here;
    *found_seq = number;
    return 0;
}

/* One search; *pos and *seq are the end when there is nothing. */
static int find_once(struct search *s, uint64_t *pos, uint64_t *seq)
{
    struct tlog_entry entry = {0};
    begin(s);
    *pos = s->end;
    *seq = s->end_seq;
    int r = search(s, &entry);
    if (r == 0 && entry.length_bytes > 0)
        r = walk(s->p, &entry, s->by == TLOG_BY_SEQ ? s->value : 0, s->by == TLOG_BY_POS ? s->value : 0, pos, seq);
    return r;
}

int tlog_partition_find_entry(struct tlog_partition *p, enum tlog_by by, uint64_t value, struct tlog_entry *out)
{
    struct search s = {.p = p, .by = by, .value = value};
    bool trimmed;
    int r;
    do {
        begin(&s);
        r = search(&s, out);
        pthread_mutex_lock(&p->lock);
        trimmed = p->start > s.start;
        pthread_mutex_unlock(&p->lock);
    } while (r == -ESTALE && trimmed);
    return r;
}

static int find_record(struct tlog_partition *p, enum tlog_by by, uint64_t value, uint64_t *pos, uint64_t *found_seq)
{
    struct search s = {.p = p, .by = by, .value = value};
    uint64_t at, seq;
    bool trimmed;
    int r;
    do {
        r = find_once(&s, &at, &seq);
        pthread_mutex_lock(&p->lock);
        trimmed = p->start > s.start;
        pthread_mutex_unlock(&p->lock);
    } while (r == -ESTALE && trimmed);
    if (r < 0)
        return r;
    if (pos)
        *pos = at;
    if (found_seq)
        *found_seq = seq;
    return 0;
}

int tlog_partition_find_seq(struct tlog_partition *partition, uint64_t seq, uint64_t *pos, uint64_t *found_seq)
{
    return find_record(partition, TLOG_BY_SEQ, seq, pos, found_seq);
}

int tlog_partition_find_time(struct tlog_partition *partition, int64_t time_ns, uint64_t *pos, uint64_t *found_seq)
{
    return find_record(partition, TLOG_BY_TIME, (uint64_t)time_ns, pos, found_seq);
}

int tlog_partition_find_pos(struct tlog_partition *partition, uint64_t at, uint64_t *pos, uint64_t *found_seq)
{
    return find_record(partition, TLOG_BY_POS, at, pos, found_seq);
}
