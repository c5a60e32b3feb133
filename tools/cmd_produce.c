/* produce: standard input to a partition, whole records at a time. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/keys.h"
#include "tools/progress.h"
#include "tools/store.h"

/* What one FUSE request carries, so that a write is one append. */
enum { BLOCK_BYTES = 1044480 };

struct producer {
    struct ctl_partition partition;
    const struct ctl_backend *backend;
    bool raw, whole, skip; /* raw: a record a write; whole: all of the input is one record; skip: too long ones */
    uint64_t most_bytes;   /* of one record, its newline counted */
    uint64_t sync_every;   /* records; 0: not while at it */
    bool sync_at_end;

    char *buffer;
    size_t used, room;
    bool skipping; /* within a line that is too long */
    uint64_t records, bytes, skipped, unsynced;
    uint64_t total_bytes; /* of the input, 0 if unknown */
    struct progress progress;
};

/* ---- reading ---------------------------------------------------------------------------------------- */

static bool more_is_there(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

    return poll(&input, 1, 0) > 0;
}

/* Reads until the buffer has a block or nothing more is there now. 1, 0 at the end of the input, or -errno. */
static int fill(struct producer *p)
{
    for (bool first = true; p->used < p->room && (first || more_is_there()); first = false) {
        ctl_wait_readable(STDIN_FILENO);
        if (ctl_stopped)
            return 0;
        ssize_t got = read(STDIN_FILENO, p->buffer + p->used, p->room - p->used);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (got == 0)
            return 0;
        if (got > 0)
            p->used += (size_t)got;
    }
    return 1;
}

/* Makes room for a block, or for a record that is longer than the buffer. */
static int grow(struct producer *p)
{
    size_t room = p->room > 0 ? 2 * p->room : BLOCK_BYTES;
    char *bigger = realloc(p->buffer, room);

    if (!bigger)
        return -ENOMEM;
    p->buffer = bigger;
    p->room = room;
    return 0;
}

/* ---- appending -------------------------------------------------------------------------------------- */

static int append_all(struct producer *p, const char *data, size_t length, uint32_t records)
{
    for (size_t done = 0; done < length;) {
        ssize_t written = p->backend->append(&p->partition, data + done, length - done, records);
        if (written < 0 && (written != -EINTR || ctl_stopped))
            return (int)written;
        if (written > 0)
            done += (size_t)written;
    }
    p->records += records;
    p->bytes += length;
    p->unsynced += records;
    if (p->sync_every == 0 || p->unsynced < p->sync_every)
        return 0;
    p->unsynced = 0;
    return p->backend->sync(&p->partition);
}

static int too_long(struct producer *p, struct tlog_error *error)
{
    p->skipped++;
    if (p->skip)
        return 0;
    return ctl_error(error, -EMSGSIZE, "record %" PRIu64 " of the input: longer than max.message.bytes (%" PRIu64 ")",
                     p->records + p->skipped, p->most_bytes);
}

/* Appends lines[0, length), all of them short enough. With --sync=N, and in raw partitions, in pieces. */
static int append_lines(struct producer *p, const char *lines, size_t length)
{
    uint64_t most = p->raw ? 1 : p->sync_every > 0 ? p->sync_every - p->unsynced : UINT32_MAX;
    size_t from = 0, at = 0;
    uint32_t records = 0;
    int result = 0;

    while (result == 0 && at < length) {
        at = (size_t)((const char *)memchr(lines + at, '\n', length - at) - lines) + 1;
        if (++records < most && at < length)
            continue;
        result = append_all(p, lines + from, at - from, records);
        if (!p->raw && p->sync_every > 0)
            most = p->sync_every - p->unsynced;
        from = at;
        records = 0;
    }
    return result;
}

/* Appends the whole lines in the buffer and keeps the rest of it. */
static int take_lines(struct producer *p, struct tlog_error *error)
{
    size_t from = 0, at = 0; /* [from, at): lines that may go out together */
    int result = 0;

    while (result == 0 && at < p->used) {
        const char *newline = memchr(p->buffer + at, '\n', p->used - at);
        size_t length = newline ? (size_t)(newline - p->buffer) + 1 - at : p->used - at;
        if (length > p->most_bytes || (p->skipping && newline)) {
            result = append_lines(p, p->buffer + from, at - from);
            if (result == 0 && !p->skipping)
                result = too_long(p, error);
            p->skipping = !newline;
            from = at += length;
        } else if (!newline) {
            break;
        } else {
            at += length;
        }
    }
    if (p->skipping) {
        p->used = 0;
        return result;
    }
    if (result == 0)
        result = append_lines(p, p->buffer + from, at - from);
    memmove(p->buffer, p->buffer + at, p->used - at);
    p->used -= at;
    return result;
}

/* The last line of an input that does not end in a newline gets one, as the mount would give it. */
static int take_rest(struct producer *p, struct tlog_error *error)
{
    int result = 0;

    if (p->used == 0 || p->skipping)
        return 0;
    if (p->used == p->room && (result = grow(p)) < 0)
        return result;
    if (!p->whole)
        p->buffer[p->used++] = '\n';
    if (p->used > p->most_bytes)
        return too_long(p, error);
    result = append_all(p, p->buffer, p->used, 1);
    p->used = 0;
    return result;
}

static int pump(struct producer *p, struct tlog_error *error)
{
    uint64_t read_bytes = 0;
    int result, more = 1;

    progress_show(&p->progress, 0, p->total_bytes);
    while (more > 0) {
        size_t before = p->used;
        more = fill(p);
        read_bytes += p->used - before;
        result = more < 0 || p->whole ? more : take_lines(p, error);
        if (result < 0)
            return result;
        if (p->used == p->room && p->used > p->most_bytes && p->whole)
            return too_long(p, error);
        if (p->used == p->room && (result = grow(p)) < 0)
            return result;
        progress_show(&p->progress, read_bytes, p->total_bytes);
    }
    if (ctl_stopped)
        return p->used > 0 ? ctl_error(error, -EINTR, "interrupted; an unfinished line was left out") : 0;
    return take_rest(p, error);
}

/* ---- the command ------------------------------------------------------------------------------------ */

static uint64_t input_bytes(void)
{
    struct stat status;
    off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);

    if (fstat(STDIN_FILENO, &status) < 0 || !S_ISREG(status.st_mode) || at < 0 || status.st_size < at)
        return 0;
    return (uint64_t)(status.st_size - at);
}

/* What the topic accepts. Whoever may produce but not read the keys lets the daemon judge. */
static int load_limits(struct ctl_store *store, const char *topic, struct producer *p)
{
    struct keys keys;
    int result = keys_load(store, topic, &keys);

    p->most_bytes = 256 << 20; /* the most that the key can be */
    if (result == -EACCES)
        return 0;
    if (result < 0)
        return result;
    p->raw = keys.values[TLOG_MESSAGE_FORMAT] == TLOG_FORMAT_RAW;
    p->most_bytes = (uint64_t)keys.values[TLOG_MAX_MESSAGE_BYTES];
    if (p->raw && p->most_bytes > BLOCK_BYTES)
        p->most_bytes = BLOCK_BYTES;
    return 0;
}

/* A topic of one partition needs no number. */
static int choose_partition(struct ctl_store *store, struct ctl_target *target)
{
    struct ctl_summary *all;
    size_t count;

    if (target->partition >= 0)
        return 0;
    int result = store->backend->partitions(store, target->topic, &all, &count);
    if (result < 0)
        return result;
    if (count == 1)
        target->partition = (int)all[0].number;
    else
        result = ctl_error(&store->error, -EINVAL, "has %zu partitions: say which, as in %s/0", count, target->topic);
    free(all);
    return result;
}

static int produce(struct producer *p, struct tlog_error *error)
{
    int result = grow(p);

    if (result < 0)
        return result;
    p->total_bytes = input_bytes();
    p->progress = (struct progress){.what = "produce", .silent = isatty(STDIN_FILENO)};
    ctl_catch_signals();
    result = pump(p, error);
    if (p->sync_at_end) { /* after a failure too: what was appended before it is to be durable */
        int synced = p->backend->sync(&p->partition);
        if (result == 0)
            result = synced;
    }
    progress_end(&p->progress);
    free(p->buffer);
    return result;
}

static int produce_to(struct ctl_store *store, const char *name, struct producer *p)
{
    struct tlog_error error = {""};
    struct ctl_target target;
    int result = ctl_target_parse(name, &target, &store->error);

    if (result == 0)
        result = choose_partition(store, &target);
    if (result == 0)
        result = load_limits(store, target.topic, p);
    if (result == 0 && p->whole && !p->raw)
        result = ctl_error(&store->error, -EINVAL, "--whole is for topics with message.format=raw");
    if (result == 0)
        result = store->backend->open(store, target.topic, (unsigned)target.partition, true, &p->partition);
    if (result < 0)
        return ctl_fail(result, &store->error, "%s", name);
    p->backend = store->backend;
    result = produce(p, &error);
    int closed = store->backend->close_partition(&p->partition);
    if (result == 0)
        result = closed;
    if (p->skip && p->skipped > 0)
        ctl_note("%s: %" PRIu64 " records longer than max.message.bytes (%" PRIu64 ") left out", name, p->skipped,
                 p->most_bytes);
    if (result < 0)
        ctl_fail(result, &error, "%s: after %" PRIu64 " records", name, p->records);
    return result < 0 || ctl_stopped ? CTL_FAILED : CTL_DONE;
}

static int run_produce(const struct ctl_command *self, int argc, char **argv)
{
    static const struct option options[] = {{"sync", optional_argument, NULL, 's'},
                                            {"skip-too-long", no_argument, NULL, 'k'},
                                            {"whole", no_argument, NULL, 'w'},
                                            {NULL, 0, NULL, 0}};
    struct producer producer = {.sync_every = 0};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's') {
            producer.sync_at_end = true;
            if (optarg && (!ctl_number_parse(optarg, UINT32_MAX, &producer.sync_every) || producer.sync_every == 0))
                return ctl_misused(self, "--sync=%s: not a number of records", optarg);
        } else if (option == 'k') {
            producer.skip = true;
        } else if (option == 'w') {
            producer.whole = true;
        } else {
            return ctl_misused_option(self);
        }
    }
    if (argc - optind != 2)
        return ctl_misused(self, "wants WHERE and TOPIC/PARTITION");
    struct ctl_store *store = ctl_store_open(argv[optind], CTL_WRITE);
    if (!store)
        return CTL_FAILED;
    int code = produce_to(store, argv[optind + 1], &producer);
    return ctl_store_close(store) < 0 ? CTL_FAILED : code;
}

const struct ctl_command ctl_produce = {
    .name = "produce",
    .arguments = "WHERE TOPIC[/PARTITION] [--sync[=N]] [--skip-too-long] [--whole]",
    .summary = "append standard input, a record a line",
    .details =
        "Appends standard input, a record a line, in large writes of whole lines. A topic of one partition needs no\n"
        "PARTITION. In a topic with message.format=raw each line, with its newline, is a record too.\n\n"
        "      --sync[=N]        durable before it ends, and every N records\n"
        "      --skip-too-long   leave out lines over max.message.bytes and say how many; else it stops there\n"
        "      --whole           raw topics: all of standard input is one record, as it is",
    .run = run_produce,
};
