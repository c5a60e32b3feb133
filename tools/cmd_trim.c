/* trim: takes away the oldest segments of a partition, or of each of a topic. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/ctl.h"
#include "tools/selector.h"
#include "tools/store.h"

struct trimmer {
    struct ctl_store *store;
    struct ctl_target target;
    const char *word; /* what `to` was given as */
    struct selector to;
    json_t *results; /* NULL: as text */
};

/* ---- where to ----------------------------------------------------------------------------------------- */

/* A mistyped position or date must not take everything away: what is still to come names no place to trim to. */
static int check_past(const struct trimmer *t, const struct tlog_bounds *b)
{
    struct tlog_error *error = &t->store->error;

    if (t->to.kind == SELECT_POS && (uint64_t)t->to.value > b->end)
        return ctl_error(error, -EINVAL, "%s is past the end, %" PRIu64, t->word, b->end);
    if (t->to.kind == SELECT_SEQ && (uint64_t)t->to.value > b->end_seq)
        return ctl_error(error, -EINVAL, "%s is past the last record, r%" PRIu64, t->word,
                         b->end_seq > 0 ? b->end_seq - 1 : 0);
    return 0;
}

static int find_place(const struct trimmer *t, unsigned number, uint64_t *pos)
{
    struct ctl_partition partition = {.store = t->store};
    uint64_t seq;

    if (t->to.kind == SELECT_END) { /* as it is when the trim comes */
        *pos = UINT64_MAX;
        return 0;
    }
    int result = t->store->backend->open(t->store, t->target.topic, number, false, &partition);
    if (result < 0)
        return result;
    result = selector_find(&t->to, &partition, pos, &seq);
    t->store->backend->close_partition(&partition);
    return result;
}

/* ---- trimming ----------------------------------------------------------------------------------------- */

static void tell(const struct trimmer *t, unsigned number, const struct tlog_bounds *before,
                 const struct tlog_bounds *after)
{
    uint64_t bytes = after->start - before->start, records = after->start_seq - before->start_seq;

    if (t->results)
        json_array_append_new(t->results,
                              json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "partition", (json_int_t)number, "start",
                                        (json_int_t)after->start, "first_record", (json_int_t)after->start_seq, "end",
                                        (json_int_t)after->end, "trimmed_records", (json_int_t)records, "trimmed_bytes",
                                        (json_int_t)bytes));
    else if (bytes == 0 && after->start == after->end)
        printf("%s/%u: holds no records\n", t->target.topic, number);
    else if (bytes == 0)
        printf("%s/%u: nothing to trim: no whole segment lies before %s\n", t->target.topic, number, t->word);
    else
        printf("%s/%u: %" PRIu64 " records, %" PRIu64 " bytes trimmed; it begins at r%" PRIu64 ", b%" PRIu64 " now\n",
               t->target.topic, number, records, bytes, after->start_seq, after->start);
}

static int trim_one(const struct trimmer *t, unsigned number)
{
    const struct ctl_backend *backend = t->store->backend;
    struct tlog_bounds before, after;
    uint64_t pos, start;
    int result = backend->bounds(t->store, t->target.topic, number, &before);

    if (result == 0)
        result = check_past(t, &before);
    if (result == 0)
        result = find_place(t, number, &pos);
    if (result == 0)
        result = backend->trim(t->store, t->target.topic, number, pos, &start);
    if (result == 0)
        result = backend->bounds(t->store, t->target.topic, number, &after);
    if (result == 0)
        tell(t, number, &before, &after);
    return result;
}

static int trim_all(struct trimmer *t)
{
    struct ctl_summary *all = NULL;
    size_t count = 0;
    int code = CTL_DONE, result = t->store->backend->partitions(t->store, t->target.topic, &all, &count);

    if (result < 0)
        return ctl_fail(result, &t->store->error, "%s", t->target.topic);
    for (size_t i = 0; i < count; i++) {
        t->store->error.text[0] = '\0';
        result = trim_one(t, all[i].number);
        if (result < 0)
            code = ctl_fail(result, &t->store->error, "%s/%u", t->target.topic, all[i].number);
    }
    free(all);
    return code;
}

static int trim_at(const char *where, const char *name, struct trimmer *t)
{
    struct tlog_error error = {""};
    int code = CTL_DONE, result = ctl_target_parse(name, &t->target, &error);

    if (result < 0)
        return ctl_fail(result, &error, "%s", name);
    if (!(t->store = ctl_store_open(where, CTL_WRITE)))
        return CTL_FAILED;
    if (t->target.partition < 0)
        code = trim_all(t);
    else if ((result = trim_one(t, (unsigned)t->target.partition)) < 0)
        code = ctl_fail(result, &t->store->error, "%s", name);
    return ctl_store_close(t->store) < 0 ? CTL_FAILED : code;
}

/* ---- the command line --------------------------------------------------------------------------------- */

/* Takes a WHEN like -3d from among the arguments, which getopt would take for options. */
static const char *take_negative(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        char *word = argv[i];
        if (word[0] != '-' || !isdigit((unsigned char)word[1]))
            continue;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i) * sizeof(*argv)); /* the NULL too */
        --*argc;
        return word;
    }
    return NULL;
}

static int parse_place(const struct ctl_command *self, struct trimmer *t)
{
    struct timespec now;
    uint64_t pos;

    clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    if (ctl_number_parse(t->word, INT64_MAX, &pos))
        t->to = (struct selector){SELECT_POS, (int64_t)pos};
    else if (!selector_parse(t->word, now_ns, &t->to))
        return ctl_misused(self, "%s: none of end, start, b4096, 4096, r123, -100, -3d, 2026-11-22T10:00:00Z", t->word);
    if (t->to.kind == SELECT_TIME && t->to.value > now_ns)
        return ctl_misused(self, "%s: is still to come; `end` takes everything away", t->word);
    return 0;
}

static int run_trim(const struct ctl_command *self, int argc, char **argv)
{
    struct trimmer trimmer = {.word = take_negative(&argc, argv)};
    bool json = false;
    int code = ctl_json_option(self, argc, argv, &json), wanted = trimmer.word ? 2 : 3;

    if (code >= 0)
        return code;
    if (argc - optind != wanted)
        return ctl_misused(self, "wants WHERE, TOPIC[/PARTITION] and WHEN");
    if (!trimmer.word)
        trimmer.word = argv[optind + 2];
    if ((code = parse_place(self, &trimmer)) != 0)
        return code;
    trimmer.results = json ? json_array() : NULL;
    code = trim_at(argv[optind], argv[optind + 1], &trimmer);
    if (trimmer.results && code == CTL_DONE)
        ctl_print_json(trimmer.results);
    else
        json_decref(trimmer.results);
    return code;
}

const struct ctl_command ctl_trim = {
    .name = "trim",
    .arguments = "WHERE TOPIC[/PARTITION] WHEN [--json]",
    .summary = "delete the oldest records, for good",
    .details =
        "Deletes the records before WHEN, for good, of a partition or of each of a topic. Whole segments go: those "
        "that\n"
        "end at or before WHEN. Files that are open read on as they were.\n\n"
        "  WHEN is end (everything goes), b4096 or 4096 (a logical byte), r123 (record 123), -100 (all but the last\n"
        "  100 records), -3d (what is older; ms s m h d w), 2026-11-22T10:00:00Z or 2026-11-22 (UTC)\n\n"
        "  -j, --json   as a JSON array of objects, one a partition",
    .run = run_trim,
};
