/* consume: the records of one partition, or of a topic's partitions one after the other, to standard output. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/progress.h"
#include "tools/selector.h"
#include "tools/store.h"

enum {
    BLOCK_BYTES = 1 << 20,
    PIECE_BYTES = 128 << 10,
    LIST_NS = 1000000000, /* between looks for added partitions */
};

/* A partition being consumed: [pos, end) is what is known to be there and wanted. */
struct feed {
    struct ctl_partition partition;
    unsigned number;
    uint64_t pos, seq, end, end_seq;
    bool ready;   /* may have grown */
    bool waiting; /* for the record that --from names, which does not exist yet */
};

struct consumer {
    struct ctl_store *store;
    struct ctl_target target;
    struct selector from, to;
    bool follow;
    uint64_t most; /* records, UINT64_MAX: all */
    struct feed *feeds;
    size_t count;
    char *buffer;
    uint64_t done_bytes, total_bytes;
    struct progress progress;
};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- where to begin and end ------------------------------------------------------------------------- */

/* Does --from name a record that is still to come? `pos` and `seq` are the end. */
static bool is_ahead(const struct selector *from, uint64_t pos, uint64_t seq)
{
    return (from->kind == SELECT_SEQ && (uint64_t)from->value > seq) ||
           (from->kind == SELECT_POS && (uint64_t)from->value > pos) ||
           (from->kind == SELECT_TIME && from->value > now_ns());
}

static int set_end(struct consumer *c, struct feed *feed)
{
    return selector_find(&c->to, &feed->partition, &feed->end, &feed->end_seq);
}

static int set_begin(struct consumer *c, struct feed *feed, const struct selector *from)
{
    uint64_t start, committed;
    int result = selector_find(from, &feed->partition, &feed->pos, &feed->seq);

    if (result == 0)
        result = c->store->backend->extent(&feed->partition, &start, &committed);
    if (result == 0)
        feed->waiting = c->follow && feed->pos == committed && is_ahead(from, feed->pos, feed->seq);
    return result;
}

/* Cuts the feed to the records that are still wanted. */
static int limit(struct consumer *c, struct feed *feed)
{
    if (feed->pos >= feed->end || feed->end_seq - feed->seq <= c->most)
        return 0;
    return c->store->backend->find(&feed->partition, TFS_FIND_SEQ, (int64_t)(feed->seq + c->most), &feed->end,
                                   &feed->end_seq);
}

/* ---- copying ---------------------------------------------------------------------------------------- */

/* In pieces, so that progress moves however slowly somebody reads. */
static int put_out(struct consumer *c, const char *data, size_t length)
{
    int result = 0;

    for (size_t done = 0, piece; result == 0 && done < length; done += piece) {
        piece = length - done < PIECE_BYTES ? length - done : PIECE_BYTES;
        result = ctl_write_all(STDOUT_FILENO, data + done, piece);
        c->done_bytes += piece;
        progress_show(&c->progress, c->done_bytes, c->total_bytes);
    }
    if (result < 0)
        ctl_error(&c->store->error, result, "standard output: %s", strerror(-result));
    return result;
}

static int copy(struct consumer *c, struct feed *feed)
{
    int result = 0;

    while (result == 0 && feed->pos < feed->end && !ctl_stopped) {
        size_t want = feed->end - feed->pos < BLOCK_BYTES ? (size_t)(feed->end - feed->pos) : BLOCK_BYTES;
        ssize_t got = c->store->backend->read(&feed->partition, feed->pos, c->buffer, want);
        if (got < 0)
            return (int)got;
        if (got == 0)
            return ctl_error(&c->store->error, -EIO, "ended at %" PRIu64 " instead of %" PRIu64, feed->pos, feed->end);
        result = put_out(c, c->buffer, (size_t)got);
        feed->pos += (uint64_t)got;
    }
    return result;
}

/* What is there now, all of it, so that lines of partitions do not mix. */
static int drain(struct consumer *c, struct feed *feed)
{
    int result = limit(c, feed);

    if (result < 0 || feed->pos >= feed->end || c->most == 0)
        return result;
    result = copy(c, feed);
    if (result == 0 && !ctl_stopped) {
        if (c->most != UINT64_MAX)
            c->most -= feed->end_seq - feed->seq;
        feed->seq = feed->end_seq;
    }
    return result;
}

/* ---- partitions ------------------------------------------------------------------------------------- */

/* Each partition takes a descriptor. */
static void allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool has_feed(const struct consumer *c, unsigned number)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->feeds[i].number == number)
            return true;
    return false;
}

static int add_feed(struct consumer *c, unsigned number, const struct selector *from)
{
    struct feed *bigger = realloc(c->feeds, (c->count + 1) * sizeof(*bigger));

    if (!bigger)
        return -ENOMEM;
    c->feeds = bigger;
    struct feed *feed = &bigger[c->count];
    *feed = (struct feed){.number = number};
    int result = c->store->backend->open(c->store, c->target.topic, number, false, &feed->partition);
    if (result < 0)
        return result;
    c->count++;
    result = set_begin(c, feed, from);
    return result < 0 ? result : set_end(c, feed);
}

/* Opens the partitions that are wanted and not open yet, to begin at `from`. */
static int add_feeds(struct consumer *c, const struct selector *from)
{
    struct ctl_summary *all = NULL;
    size_t count = 0;
    int result = c->store->backend->partitions(c->store, c->target.topic, &all, &count);

    for (size_t i = 0; result == 0 && i < count; i++)
        if ((c->target.partition < 0 || all[i].number == (unsigned)c->target.partition) && !has_feed(c, all[i].number))
            result = add_feed(c, all[i].number, from);
    free(all);
    return result;
}

/* ---- following -------------------------------------------------------------------------------------- */

/* A mount's poll says "ready" until the end of file has been read, as for any regular file. */
static int hear_of_end(struct consumer *c, struct feed *feed)
{
    char byte;
    ssize_t got = c->store->backend->read(&feed->partition, feed->pos, &byte, 1);

    return got < 0 ? (int)got : 0;
}

/* Looks for more. */
static int look(struct consumer *c, struct feed *feed)
{
    int result = feed->waiting ? set_begin(c, feed, &c->from) : 0;

    if (result == 0 && !feed->waiting)
        result = set_end(c, feed);
    if (result == 0 && !feed->waiting)
        result = drain(c, feed);
    return result < 0 ? result : hear_of_end(c, feed);
}

/* Until a partition grows; for a second, as partitions are added without notice. Counts those that did. */
static int wait_for_growth(struct consumer *c)
{
    struct pollfd *descriptors = calloc(c->count + 1, sizeof(*descriptors));

    if (!descriptors)
        return -ENOMEM;
    for (size_t i = 0; i < c->count; i++)
        descriptors[i] = (struct pollfd){.fd = c->feeds[i].partition.fd, .events = POLLIN};
    int ready = poll(descriptors, c->count, 1000);
    if (ready < 0)
        ready = errno == EINTR ? 0 : -errno;
    for (size_t i = 0; i < c->count; i++)
        c->feeds[i].ready = ready == 0 || descriptors[i].revents != 0;
    free(descriptors);
    return ready;
}

static int follow(struct consumer *c)
{
    static const struct selector start = {SELECT_START, 0};
    int64_t listed_ns = now_ns();
    int result = 0;

    while (result >= 0 && c->most > 0 && !ctl_stopped) {
        result = wait_for_growth(c);
        if (result >= 0 && (now_ns() - listed_ns >= LIST_NS || now_ns() < listed_ns)) {
            size_t before = c->count;
            result = add_feeds(c, &start);
            for (listed_ns = now_ns(); before < c->count; before++)
                c->feeds[before].ready = true;
        }
        for (size_t i = 0; result >= 0 && i < c->count && c->most > 0 && !ctl_stopped; i++)
            if (c->feeds[i].ready)
                result = look(c, &c->feeds[i]);
    }
    return result == -ENOENT ? -ESTALE : result < 0 ? result : 0; /* it was there */
}

static int consume(struct consumer *c)
{
    int result = add_feeds(c, &c->from);

    if (result == 0 && c->count == 0 && c->target.partition >= 0)
        return ctl_error(&c->store->error, -ENOENT, "no such partition");
    for (size_t i = 0; c->most == UINT64_MAX && i < c->count; i++)
        if (c->feeds[i].end > c->feeds[i].pos)
            c->total_bytes += c->feeds[i].end - c->feeds[i].pos;
    progress_show(&c->progress, 0, c->total_bytes);
    for (size_t i = 0; result == 0 && i < c->count && !ctl_stopped; i++)
        if (!c->feeds[i].waiting)
            result = drain(c, &c->feeds[i]);
    return result == 0 && c->follow ? follow(c) : result;
}

/* ---- the command ------------------------------------------------------------------------------------ */

/* What was to be read next is not there any more. */
static void explain_stale(struct consumer *c)
{
    const char *what = "trimmed";
    uint64_t start, committed;

    for (size_t i = 0; i < c->count; i++)
        if (c->store->backend->extent(&c->feeds[i].partition, &start, &committed) == -ESTALE)
            what = "deleted";
    ctl_error(&c->store->error, -ESTALE, "%s while it was read", what);
}

static int consume_from(struct consumer *c, const char *name)
{
    int code = CTL_DONE, result = ctl_target_parse(name, &c->target, &c->store->error);

    allow_descriptors();
    if (result == 0 && !(c->buffer = malloc(BLOCK_BYTES)))
        result = -ENOMEM;
    c->progress = (struct progress){.what = "consume", .silent = c->follow || isatty(STDOUT_FILENO)};
    if (result == 0)
        result = consume(c);
    progress_end(&c->progress);
    if (result == -ESTALE)
        explain_stale(c);
    if (result < 0)
        code = ctl_fail(result, &c->store->error, "%s", name);
    for (size_t i = 0; i < c->count; i++)
        c->store->backend->close_partition(&c->feeds[i].partition);
    free(c->feeds);
    free(c->buffer);
    return code;
}

static int parse_options(const struct ctl_command *self, int argc, char **argv, struct consumer *c)
{
    static const struct option options[] = {
        {"from", required_argument, NULL, 'F'},
        {"to", required_argument, NULL, 'T'},
        {"follow", no_argument, NULL, 'f'},
        {"records", required_argument, NULL, 'n'},
        {NULL, 0, NULL, 0},
    };
    bool to = false;
    int option;

    while ((option = getopt_long(argc, argv, "fn:", options, NULL)) != -1) {
        if (option == 'F' || option == 'T') {
            if (!selector_parse(optarg, now_ns(), option == 'F' ? &c->from : &c->to))
                return ctl_misused(self, "%s: none of start, end, r123, b4096, -100, -15m, 2026-11-22T10:00:00Z",
                                   optarg);
            to |= option == 'T';
        } else if (option == 'n') {
            if (!ctl_number_parse(optarg, INT64_MAX, &c->most))
                return ctl_misused(self, "%s: not a number of records", optarg);
        } else if (option == 'f') {
            c->follow = true;
        } else {
            return ctl_misused_option(self);
        }
    }
    if (argc - optind != 2)
        return ctl_misused(self, "wants WHERE and TOPIC[/PARTITION]");
    if (c->follow && to)
        return ctl_misused(self, "either --follow or --to");
    return 0;
}

static int run_consume(const struct ctl_command *self, int argc, char **argv)
{
    struct consumer consumer = {.from = {SELECT_START, 0}, .to = {SELECT_END, 0}, .most = UINT64_MAX};
    int code = parse_options(self, argc, argv, &consumer);

    if (code != 0)
        return code;
    consumer.store = ctl_store_open(argv[optind], CTL_READ);
    if (!consumer.store)
        return CTL_FAILED;
    if (consumer.follow && !consumer.store->online)
        code = ctl_misused(self, "--follow wants a mountpoint: a store grows by its daemon alone");
    else
        code = consume_from(&consumer, argv[optind + 1]);
    ctl_store_close(consumer.store);
    return code;
}

const struct ctl_command ctl_consume = {
    .name = "consume",
    .arguments = "WHERE TOPIC[/PARTITION] [--from WHEN] [--to WHEN] [--records N] [--follow]",
    .summary = "print records",
    .details =
        "Prints records as they are. Of a TOPIC, its partitions one after the other, in whole records.\n\n"
        "      --from WHEN     begin at: start (default), end, r123 (record 123), b4096 (the first record at or\n"
        "                      after logical byte 4096), -100 (the last 100), -15m (ms s m h d w ago),\n"
        "                      2026-11-22T10:00:00Z or 2026-11-22 (UTC)\n"
        "      --to WHEN       end before the record that this names; default: end\n"
        "  -n, --records N     at most N records\n"
        "  -f, --follow        go on with what is appended, until interrupted",
    .run = run_consume,
};
