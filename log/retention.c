/* Retention: whole segments go, the oldest first, when retention.ms or retention.bytes no longer keeps them.
 *
 * By time, a segment goes when its newest record is older than retention.ms by the guarded clock (clock.h); the active
 * one is rolled then, and goes too. By size, the oldest goes as long as what remains is not less than
 * retention.bytes: Kafka's rules. A start, and a change of either key, gives people ten seconds to think again. */
#include "log/retention.h"

#include "log/trim.h"

#define HOUR_NS  INT64_C(3600000000000)
#define RETRY_NS INT64_C(60000000000)

static uint64_t segment_end(const struct tlog_partition *p, unsigned i)
{
    return i + 1 < p->segment_count ? p->segments[i + 1].pos : p->end;
}

/* The time of the last record of segment i. The segment after it says, so that nothing is searched. */
static int last_time(struct tlog_partition *p, unsigned i, int64_t *time_ns)
{
    struct tlog_segment *segment = &p->segments[i];
    struct tlog_index_header header;
    int r = 0;
    if (i + 1 == p->segment_count) {
        *time_ns = p->last_append_ns;
        return 0;
    }
    if (segment->last_ns == 0) {
        r = tlog_segment_header(p, i + 1, &header);
        if (r == 0)
            segment->last_ns = header.time_ns;
    }
    *time_ns = segment->last_ns;
    return r;
}

/* Where the log is to start, as far as time says; *next_ns: when to ask again. */
static uint64_t expire_by_time(struct tlog_partition *p, int64_t retention_ms, int64_t now_ns, int64_t *next_ns)
{
    uint64_t start = p->start;
    *next_ns = -1;
    for (unsigned i = tlog_segment_first(p); i < p->segment_count && segment_end(p, i) > p->segments[i].pos; i++) {
        int64_t time_ns;
        if (last_time(p, i, &time_ns) < 0) {
            *next_ns = RETRY_NS;
            break;
        }
        int64_t left_ns = time_ns + retention_ms * 1000000 - now_ns;
        if (left_ns >= 0) { /* the clock may be found to be wrong or right meanwhile */
            *next_ns = left_ns < HOUR_NS ? left_ns + 1 : HOUR_NS;
            break;
        }
        start = segment_end(p, i);
    }
    return start;
}

static uint64_t expire_by_size(const struct tlog_partition *p, uint64_t retention_bytes)
{
    uint64_t start = p->start;
    for (unsigned i = tlog_segment_first(p); i < p->segment_count; i++) {
        if (p->end - segment_end(p, i) < retention_bytes)
            break;
        start = segment_end(p, i);
    }
    return start;
}

int64_t tlog_partition_retain(struct tlog_partition *p)
{
    const struct tlog_io *io = p->ground->io;
    int64_t retention_ms = tlog_value(p->topic, TLOG_RETENTION_MS), next_ns = -1;
    int64_t retention_bytes = tlog_value(p->topic, TLOG_RETENTION_BYTES);
    int64_t boottime_ns = io->boottime_ns(io), from_ns = atomic_load(&p->topic->retention_from_ns);
    if (retention_ms < 0 && retention_bytes < 0)
        return -1;
    if (from_ns > boottime_ns)
        return from_ns - boottime_ns;
    int64_t now_ns = tlog_clock_now(&p->ground->clock, io->realtime_ns(io), boottime_ns);
    pthread_mutex_lock(&p->lock);
    if (tlog_partition_refuses(p) < 0) {
        pthread_mutex_unlock(&p->lock);
        return -1;
    }
    uint64_t old = p->start, start = old;
    if (retention_ms >= 0)
        start = expire_by_time(p, retention_ms, now_ns, &next_ns);
    if (retention_bytes >= 0 && p->end > p->start) {
        uint64_t by_size = expire_by_size(p, (uint64_t)retention_bytes);
        start = by_size > start ? by_size : start;
    }
    pthread_mutex_unlock(&p->lock);
    /* An append meanwhile only makes less of it go: then the active segment stays. */
    if (start > old && tlog_partition_trim(p, start, NULL) < 0)
        return RETRY_NS;
    return retention_bytes >= 0 && (next_ns < 0 || next_ns > TLOG_RETENTION_LOOK_NS) ? TLOG_RETENTION_LOOK_NS : next_ns;
}
