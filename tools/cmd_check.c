/* verify, dump: what is in a store's files. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ctl.h"
#include "tools/progress.h"
#include "tools/selector.h"
#include "tools/store.h"

/* ---- verify ----------------------------------------------------------------------------------------- */

struct verifier {
    json_t *damages; /* NULL: as text */
    struct progress progress;
};

static void on_damage(void *arg, const char *line)
{
    struct verifier *verifier = arg;

    progress_end(&verifier->progress);
    if (verifier->damages)
        json_array_append_new(verifier->damages, ctl_json_text(line, strlen(line)));
    else
        puts(line);
}

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct verifier *verifier = arg;

    progress_show(&verifier->progress, done_bytes, total_bytes);
}

static void print_count(uint64_t count, const char *one, const char *many, const char *after)
{
    printf("%" PRIu64 " %s%s", count, count == 1 ? one : many, after);
}

static void print_verify(const struct tlog_verify *v, json_t *damages)
{
    if (damages) {
        ctl_print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "topics", (json_int_t)v->topics,
                                 "partitions", (json_int_t)v->partitions, "segments", (json_int_t)v->segments,
                                 "entries", (json_int_t)v->entries, "records", (json_int_t)v->records, "bytes",
                                 (json_int_t)v->bytes, "unindexed_bytes", (json_int_t)v->unindexed_bytes, "torn_bytes",
                                 (json_int_t)v->torn_bytes, "damages", damages));
        return;
    }
    print_count(v->topics, "topic", "topics", ", ");
    print_count(v->partitions, "partition", "partitions", ", ");
    print_count(v->segments, "segment", "segments", ", ");
    print_count(v->entries, "entry", "entries", ", ");
    print_count(v->records, "record", "records", ", ");
    print_count(v->bytes, "byte", "bytes", ": ");
    if (v->damages == 0)
        puts("sound");
    else
        printf("%" PRIu64 " damaged\n", v->damages);
    if (v->unindexed_bytes > 0)
        printf("%" PRIu64 " bytes of whole records past the last entry: no damage, the next start indexes them\n",
               v->unindexed_bytes);
    if (v->torn_bytes > 0)
        printf("%" PRIu64 " bytes of an unfinished tail: no damage, the next start cuts them\n", v->torn_bytes);
}

static int verify_at(const char *where, const char *topic, bool json)
{
    struct verifier verifier = {.damages = json ? json_array() : NULL, .progress = {.what = "verify"}};
    struct tlog_error error = {""};
    struct tlog_verify found;
    int code, holder = ctl_store_holder(where);

    int result = tlog_verify(where, topic, on_damage, on_progress, &verifier, &found, &error);
    progress_end(&verifier.progress);
    if (result == -EWOULDBLOCK && holder > 0)
        ctl_error(&error, result, "process %d has this store open, and what moves cannot be verified: stop it first",
                  holder);
    else if (result == -EWOULDBLOCK)
        ctl_error(&error, result, "another process has this store open, and what moves cannot be verified");
    if (result < 0) {
        ctl_error_drop(&error, where);
        if (topic)
            ctl_error_drop(&error, topic);
        code = ctl_fail(result, &error, "%s%s%s", where, topic ? ": " : "", topic ? topic : "");
        if (strcmp(error.text, "no such topic") != 0) /* a store that is not there is no "no" */
            code = CTL_FAILED;
    } else {
        print_verify(&found, verifier.damages);
        code = found.damages > 0 ? CTL_NO : CTL_DONE;
    }
    json_decref(verifier.damages);
    return code;
}

static int run_verify(const struct ctl_command *self, int argc, char **argv)
{
    struct tlog_error error = {""};
    struct ctl_target target;
    bool json = false;
    int code = ctl_json_option(self, argc, argv, &json);

    if (code >= 0)
        return code;
    if (argc - optind != 1 && argc - optind != 2)
        return ctl_misused(self, "wants STORE and perhaps TOPIC");
    const char *where = argv[optind], *topic = argc - optind == 2 ? argv[optind + 1] : NULL;
    int result = topic ? ctl_target_parse(topic, &target, &error) : 0;
    if (result < 0)
        return ctl_fail(result, &error, "%s", topic);
    if (topic && target.partition >= 0)
        return ctl_misused(self, "%s: verifies whole topics", topic);
    if (ctl_is_mount(where) == 1)
        return ctl_misused(self, "%s is a mountpoint: stop its daemon and name the store directory", where);
    return verify_at(where, topic ? target.topic : NULL, json);
}

const struct ctl_command ctl_verify = {
    .name = "verify",
    .arguments = "STORE [TOPIC] [--json]",
    .summary = "check every byte of a store that nobody has open",
    .details =
        "Reads a store, or a topic of it, that no process has open, and checks every byte against its chain. Says\n"
        "which file, which entry and what is wrong; changes nothing. Exit status 1: there is damage.\n\n"
        "  -j, --json   as a JSON object: counts, and `damages`, an array of sentences",
    .run = run_verify,
};

/* ---- dump ------------------------------------------------------------------------------------------- */

struct dumper {
    bool json, any;
};

static const char *flags_text(uint32_t flags, char to[40])
{
    static const struct {
        uint32_t flag;
        const char *name;
    } names[] = {{TLOG_ENTRY_EPOCH, "epoch"}, {TLOG_ENTRY_ROLL, "roll"}, {TLOG_ENTRY_LOSSY, "lossy"}};
    uint32_t unknown = flags;
    size_t used = 0;

    to[0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (flags & names[i].flag) {
            used += (size_t)snprintf(to + used, 40 - used, "%s%s", used > 0 ? "," : "", names[i].name);
            unknown &= ~names[i].flag;
        }
    if (unknown)
        snprintf(to + used, 40 - used, "%s0x%x", used > 0 ? "," : "", unknown);
    return to[0] ? to : "-";
}

static int print_entry(void *arg, const struct tlog_entry *e)
{
    struct dumper *dumper = arg;
    char time[40], flags[40];

    time_format(e->time_ns, time);
    const char *words = flags_text(e->flags, flags);
    if (dumper->json)
        printf("%s{\"pos\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"time_ns\":%" PRId64 ",\"time\":\"%s\",\"length\":%" PRIu32
               ",\"records\":%" PRIu32 ",\"epoch\":%" PRIu32 ",\"flags\":\"%s\",\"producer\":%" PRIu64
               ",\"producer_seq\":%" PRIu32 ",\"leader\":%" PRIu32 ",\"chain\":\"%016" PRIx64 "\"}",
               dumper->any ? ",\n" : "", e->pos, e->seq, e->time_ns, time, e->length_bytes, e->records, e->epoch,
               words[0] == '-' ? "" : words, e->producer, e->producer_seq, e->leader, e->chain);
    else
        printf("%" PRIu64 " %" PRIu64 " %s %" PRIu32 " %" PRIu32 " %" PRIu32 " %s %" PRIu64 " %" PRIu32 " %" PRIu32
               " %016" PRIx64 "\n",
               e->pos, e->seq, time, e->length_bytes, e->records, e->epoch, words, e->producer, e->producer_seq,
               e->leader, e->chain);
    dumper->any = true;
    return ferror(stdout);
}

static int dump(struct ctl_store *store, const char *name, bool json)
{
    struct dumper dumper = {.json = json};
    struct ctl_partition partition = {.store = store};
    struct ctl_target target;
    int result = ctl_target_parse(name, &target, &store->error);

    if (result == 0 && target.partition < 0)
        result = ctl_error(&store->error, -EINVAL, "say which partition, as in %s/0", target.topic);
    if (result == 0)
        result = store->backend->open(store, target.topic, (unsigned)target.partition, false, &partition);
    if (result < 0)
        return ctl_fail(result, &store->error, "%s", name);
    fputs(json ? "[" : "pos seq time length records epoch flags producer producer_seq leader chain\n", stdout);
    result = tlog_partition_entries(partition.log, print_entry, &dumper);
    if (json)
        puts("]");
    store->backend->close_partition(&partition);
    return result < 0 ? ctl_fail(result, NULL, "%s", name) : CTL_DONE;
}

static int run_dump(const struct ctl_command *self, int argc, char **argv)
{
    bool json = false;
    int code = ctl_json_option(self, argc, argv, &json);

    if (code >= 0)
        return code;
    if (argc - optind != 2)
        return ctl_misused(self, "wants STORE and TOPIC/PARTITION");
    struct ctl_store *store = ctl_store_open(argv[optind], CTL_READ);
    if (!store)
        return CTL_FAILED;
    if (store->online)
        code = ctl_misused(self, "%s is a mountpoint: indexes are in the store directory", argv[optind]);
    else
        code = dump(store, argv[optind + 1], json);
    ctl_store_close(store);
    return code;
}

const struct ctl_command ctl_dump = {
    .name = "dump",
    .arguments = "STORE TOPIC/PARTITION [--json]",
    .summary = "the index entries of a partition as text",
    .details =
        "Prints the index entries of a partition, oldest first, a line each, under a heading; times UTC. The fields\n"
        "are those of topicfs-format(5).\n\n  -j, --json   as a JSON array of objects, one a line",
    .run = run_dump,
};
