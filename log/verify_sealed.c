/* Chains are kept where frames end, and where groups of entries begin. So damage costs no more than its frame or
 * group: behind it the next chain that is kept is taken up. */
#include "log/verify_sealed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bytes.h"

struct walk {
    const struct tlog_sealed_check *check;
    uint8_t *content; /* of the frame */
    uint32_t frame;   /* UINT32_MAX: none yet */
    bool readable;    /* that frame is */
    struct tlog_point at;
    bool known; /* at.chain is: nothing before was damaged, or a kept one was taken up */
};

static void tell(struct walk *walk, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct walk *walk, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    walk->check->damage(walk->check->arg, line);
}

/* Makes `frame` the one in memory. */
static int load(struct walk *walk, uint32_t frame)
{
    const struct tlog_sealed *sealed = walk->check->sealed;
    if (frame == walk->frame)
        return 0;
    int r = tlog_sealed_frame(sealed, frame, walk->content);
    if (r < 0 && r != -EBADMSG)
        return r;
    walk->frame = frame;
    walk->readable = r == 0;
    uint64_t pos = sealed->header.pos + (uint64_t)frame * TLOG_FRAME_BYTES;
    if (r < 0)
        tell(walk, "frame %" PRIu32 " (positions %" PRIu64 " to %" PRIu64 "): damaged", frame, pos,
             pos + tlog_sealed_frame_bytes(sealed, frame));
    return 0;
}

/* Hashes an entry's data. *whole: all of it could be read. */
static int hash_data(struct walk *walk, const struct tlog_entry *entry, bool *whole, uint64_t *hash)
{
    const struct tlog_sealed *sealed = walk->check->sealed;
    uint64_t from = entry->pos - sealed->header.pos, end = from + entry->length_bytes;
    XXH3_state_t state;
    tlog_hash_begin(&state, walk->at.chain);
    *whole = true;
    while (from < end) {
        uint32_t frame = (uint32_t)(from / TLOG_FRAME_BYTES);
        uint64_t frame_end = (uint64_t)(frame + 1) * TLOG_FRAME_BYTES, to = frame_end < end ? frame_end : end;
        int r = load(walk, frame);
        if (r < 0)
            return r;
        if (walk->readable)
            XXH3_64bits_update(&state, walk->content + from % TLOG_FRAME_BYTES, (size_t)(to - from));
        *whole = *whole && walk->readable;
        from = to;
    }
    *hash = XXH3_64bits_digest(&state);
    return 0;
}

static int check_entry(struct walk *walk, const struct tlog_entry *kept)
{
    const struct tlog_sealed *sealed = walk->check->sealed;
    struct tlog_entry entry = *kept;
    uint64_t hash;
    bool whole;
    if (!tlog_entry_follows(kept, walk->at.pos, walk->at.seq, walk->at.time_ns) ||
        kept->pos + kept->length_bytes > sealed->end.pos) {
        tell(walk, "an entry at position %" PRIu64 " does not follow the one before it", kept->pos);
        return -EBADMSG;
    }
    int r = hash_data(walk, kept, &whole, &hash);
    if (r < 0)
        return r;
    entry.chain = tlog_entry_chain(kept, hash);
    walk->known = walk->known && whole;
    if (walk->known && kept->chain != 0 && kept->chain != entry.chain) {
        tell(walk, "bad chain at position %" PRIu64 ": the data or an entry was changed", kept->pos);
        whole = false;
    }
    if (kept->chain != 0) {
        entry.chain = kept->chain;
        walk->known = true;
    }
    /* Where the chain is not known, the frame's own checksum vouches for the data. */
    if (whole)
        walk->check->each(walk->check->arg, &entry);
    walk->at = tlog_point_after(&entry);
    return 0;
}

static int check_group(struct walk *walk, uint32_t group)
{
    struct tlog_point before;
    struct tlog_entry *entries;
    size_t count;
    int r = tlog_sealed_group(walk->check->sealed, group, &before, &entries, &count);
    if (r == -EBADMSG) {
        tell(walk, "group %" PRIu32 " of its index: damaged", group);
        walk->known = false;
        return 0;
    }
    if (r < 0)
        return r;
    if (walk->known && (before.pos != walk->at.pos || before.seq != walk->at.seq || before.chain != walk->at.chain))
        tell(walk, "group %" PRIu32 " of its index does not go on from the one before it", group);
    walk->at = before;
    walk->known = true;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = check_entry(walk, &entries[i]);
    free(entries);
    if (r != -EBADMSG)
        return r;
    walk->known = false;
    return 0;
}

int tlog_sealed_check(const struct tlog_sealed_check *check)
{
    const struct tlog_sealed *sealed = check->sealed;
    struct walk walk = {.check = check, .content = malloc(TLOG_FRAME_BYTES), .frame = UINT32_MAX, .known = true};
    int r = walk.content ? 0 : -ENOMEM;
    walk.at = (struct tlog_point){.pos = sealed->header.pos,
                                  .seq = sealed->header.seq,
                                  .chain = sealed->header.chain,
                                  .time_ns = sealed->header.time_ns};
    for (uint32_t group = 0; r == 0 && group < sealed->groups; group++)
        r = check_group(&walk, group);
    if (r == 0 && walk.known &&
        (walk.at.pos != sealed->end.pos || walk.at.seq != sealed->end.seq || walk.at.chain != sealed->end.chain))
        tell(&walk, "its last entry is not where its index says that it ends");
    free(walk.content);
    return r;
}
