/* Recovery of one partition: where its log starts.
 *
 * A trim makes the new start durable (in the journal, later in the checkpoint) before it unlinks anything. Whatever
 * was cut short after that is done here, oldest segment first as the trim does, so that at any moment what is there
 * is in one piece. Pins do not outlive the process. What was moved back from the trash says itself where it starts,
 * until a checkpoint does. */
#include "log/recover_state.h"

#include <errno.h>

#include "log/trash.h"

static uint64_t known_start(struct tlog_recover *recover, struct tlog_partition *p,
                            const struct tlog_checkpoint_row *row)
{
    size_t count;
    struct tlog_replayed *records = tlog_recover_records(recover, p, &count);
    uint64_t start = row ? row->start : 0;
    for (size_t i = 0; i < count; i++)
        if (records[i].type == TLOG_JOURNAL_START && records[i].body_bytes >= 16 &&
            tlog_get_u64(records[i].body) > start)
            start = tlog_get_u64(records[i].body);
    return start;
}

static uint64_t restored_start(struct tlog_recovering *s)
{
    char dir[TLOG_NAME_BYTES];
    tlog_topic_dir(s->p->topic, dir);
    bool restored = s->restored || tlog_topic_of(s->p)->restored;
    return restored ? tlog_origin_start(s->io, s->restored ? s->dir : dir, s->p->number) : 0;
}

/* Whether a segment begins at `start`; *below: how many lie before. */
static bool begins(const struct tlog_partition *p, uint64_t start, unsigned *below)
{
    *below = 0;
    while (*below < p->segment_count && p->segments[*below].pos < start)
        ++*below;
    return *below < p->segment_count && p->segments[*below].pos == start;
}

/* Whether that start is of another partition of this number, which was removed: this one began past it. */
static bool is_of_removed(const struct tlog_partition *p, uint64_t start)
{
    const struct tlog_topic *topic = tlog_topic_of(p);
    uint64_t end = p->number < topic->ends_count ? topic->ends[p->number].pos : 0;
    return start < end && p->segments[0].pos >= end;
}

int tlog_recover_start(struct tlog_recovering *s, const struct tlog_checkpoint_row *row, bool replaced)
{
    struct tlog_partition *p = s->p;
    uint64_t start = known_start(s->recover, p, row), restored = restored_start(s);
    unsigned below;
    /* Other files than the checkpoint knows: those that recovery has written anew, or somebody's older copy. */
    if (replaced && !begins(p, start, &below))
        start = known_start(s->recover, p, NULL);
    /* Between a removal and its restore there may have been another of its number, of which the checkpoint speaks. */
    if (restored > start || (restored > 0 && !begins(p, start, &below)))
        start = restored;
    if (p->segment_count == 0 || start == 0 || is_of_removed(p, start))
        return 0;
    if (!begins(p, start, &below)) {
        tlog_recover_note(s, "the log was trimmed to", start, ", and no segment begins there: bytes are missing");
        p->damaged = true; /* nothing is removed on account of what is lost */
        return 0;
    }
    s->start = start;
    for (unsigned i = 0; i < below; i++) {
        int r = tlog_segment_unlink(p, p->segments[i].pos);
        if (r < 0)
            return r;
    }
    tlog_segments_forget(p, below);
    s->changed = s->changed || below > 0;
    return 0;
}

void tlog_recover_look_start(struct tlog_recover *recover, struct tlog_partition *p,
                             const struct tlog_checkpoint_row *row)
{
    unsigned below;
    if (begins(p, known_start(recover, p, row), &below))
        tlog_segments_forget(p, below);
}
