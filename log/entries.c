/* Listing the entries of a partition, from segments of either form. A sealed segment keeps chains only where frames end:
 * those between are computed from the data, which is decompressed for that a frame at a time, past the cache, since
 * nobody will want it soon. */
#include <errno.h>
#include <stdlib.h>

#include "log/partition.h"

/* ---- chains of a sealed segment ---- */

struct chaining {
    const struct tlog_sealed *sealed;
    uint8_t *data; /* of frame number `frame`, if that is not UINT32_MAX */
    uint32_t frame;
    uint64_t chain; /* after the entry before */
    bool known;
};

/* The data of an entry into a hash. -EBADMSG a frame of it is corrupt. */
static int hash_entry(struct chaining *c, const struct tlog_entry *entry, XXH3_state_t *hash)
{
    uint64_t foff = entry->pos - c->sealed->header.pos, end = foff + entry->length_bytes;
    while (foff < end) {
        uint32_t frame = (uint32_t)(foff / TLOG_FRAME_BYTES);
        size_t in = foff % TLOG_FRAME_BYTES;
        if (frame != c->frame) {
            c->frame = UINT32_MAX;
            int r = tlog_sealed_frame(c->sealed, frame, c->data);
            if (r < 0)
                return r;
            c->frame = frame;
        }
        uint64_t bytes = tlog_sealed_frame_bytes(c->sealed, frame) - in;
        if (bytes > end - foff)
            bytes = end - foff;
        XXH3_64bits_update(hash, c->data + in, bytes);
        foff += bytes;
    }
    return 0;
}

/* Sets the chain of the next entry, unless the file has it or the data is corrupt: then it stays 0. */
static int chain_entry(struct chaining *c, struct tlog_entry *entry)
{
    XXH3_state_t hash;
    if (entry->chain == 0 && c->known) {
        tlog_hash_begin(&hash, c->chain);
        int r = hash_entry(c, entry, &hash);
        if (r < 0 && r != -EBADMSG)
            return r;
        if (r == 0)
            entry->chain = tlog_entry_chain(entry, XXH3_64bits_digest(&hash));
    }
    c->chain = entry->chain;
    c->known = entry->chain != 0;
    return 0;
}

/* ---- listing ---- */

typedef int each_entry(void *arg, const struct tlog_entry *entry);

static int list_group(struct chaining *c, uint32_t group, each_entry *each, void *arg)
{
    struct tlog_point before;
    struct tlog_entry *entries;
    size_t count;
    int r = tlog_sealed_group(c->sealed, group, &before, &entries, &count);
    if (r < 0)
        return r;
    c->chain = before.chain;
    c->known = true;
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = chain_entry(c, &entries[i]);
        if (r == 0)
            r = each(arg, &entries[i]);
    }
    free(entries);
    return r;
}

static int list_sealed(const struct tlog_held *held, each_entry *each, void *arg)
{
    struct chaining c = {.sealed = held->handle->sealed, .data = malloc(TLOG_FRAME_BYTES), .frame = UINT32_MAX};
    int r = c.data ? 0 : -ENOMEM;
    for (uint32_t group = 0; r == 0 && group < c.sealed->groups; group++)
        r = list_group(&c, group, each, arg);
    free(c.data);
    return r;
}

static int list_raw(const struct tlog_held *held, each_entry *each, void *arg)
{
    struct tlog_scan scan;
    int r = tlog_held_scan(held, &scan);
    for (uint64_t n = 0; r == 0 && n < tlog_scan_entries(&scan); n++) {
        struct tlog_entry entry;
        r = tlog_scan_entry(&scan, n, &entry);
        if (r == 0)
            r = each(arg, &entry);
    }
    return r;
}

int tlog_partition_entries(struct tlog_partition *partition, int (*each)(void *arg, const struct tlog_entry *entry),
                           void *arg)
{
    struct tlog_partition *p = partition;
    struct tlog_held held = {0};
    pthread_mutex_lock(&p->lock);
    uint64_t pos = p->start;
    pthread_mutex_unlock(&p->lock);
    int r = 0;
    do {
        r = tlog_segment_hold_exactly(p, pos, &held);
        if (r < 0)
            return r;
        r = held.handle->sealed ? list_sealed(&held, each, arg) : list_raw(&held, each, arg);
        tlog_handle_unref(held.handle);
        pos = held.end;
    } while (r == 0 && held.idx_bytes == 0); /* until the active one */
    return r;
}
