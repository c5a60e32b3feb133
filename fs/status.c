#include "status.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "daemon.h"

/* Calls `each` for every partition of a topic, in order. */
static void each_partition(struct tlog_topic *topic, void (*each)(void *arg, struct tlog_partition *), void *arg)
{
    unsigned count = tlog_topic_partitions(topic);

    for (unsigned number = 0; number < count; number++) {
        struct tlog_partition *partition = tlog_partition_get(topic, number);
        if (partition == NULL)
            continue;
        each(arg, partition);
        tlog_partition_unref(partition);
    }
}

static void print_offsets(void *to, struct tlog_partition *partition)
{
    struct tlog_bounds bounds;

    tlog_partition_bounds(partition, &bounds);
    fprintf(to, "%u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", tlog_partition_number(partition),
            bounds.start, bounds.end, bounds.committed, bounds.end_seq - bounds.start_seq,
            bounds.committed - bounds.start);
}

void tfs_offsets_topic(struct tlog_topic *topic, FILE *to)
{
    each_partition(topic, print_offsets, to);
}

static void print_trouble(void *to, struct tlog_partition *partition)
{
    struct tlog_bounds bounds;
    char topic[256];

    tlog_partition_bounds(partition, &bounds);
    if (!bounds.failed && !bounds.damaged)
        return;
    tlog_topic_name(tlog_partition_topic(partition), topic);
    fprintf(to, "%-12s %s/%u, read-only: %s\n", bounds.damaged ? "damaged" : "failed", topic,
            tlog_partition_number(partition),
            bounds.damaged ? "its index or log is damaged, see topicctl verify"
                           : "the disk refused to store it, restart the daemon when the disk is well");
}

static void print_uptime(FILE *to, int64_t seconds)
{
    fprintf(to, "%-12s ", "uptime");
    if (seconds >= 86400)
        fprintf(to, "%" PRId64 "d ", seconds / 86400);
    if (seconds >= 3600)
        fprintf(to, "%" PRId64 "h ", seconds / 3600 % 24);
    if (seconds >= 60)
        fprintf(to, "%" PRId64 "m ", seconds / 60 % 60);
    fprintf(to, "%" PRId64 "s\n", seconds % 60);
}

static void print_recovery(FILE *to, const struct tlog_recovery *recovery)
{
    const struct {
        const char *what;
        uint64_t count;
    } rows[] = {
        {"bytes cut from torn ends", recovery->cut_bytes}, {"files that keep them", recovery->cut_files},
        {"records indexed", recovery->indexed_records},    {"bytes written from the journal", recovery->replayed_bytes},
        {"unfinished lines ended", recovery->ended_rests}, {"files written anew", recovery->rewritten_files},
        {"damaged partitions", recovery->damaged},
    };
    bool any = false;

    fprintf(to, "%-12s ", "recovery");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].count > 0) {
            fprintf(to, "%s%" PRIu64 " %s", any ? ", " : "", rows[i].count, rows[i].what);
            any = true;
        }
    fputs(any ? "\n" : "nothing to do at this start\n", to);
}

static void print_damage(void *to, const char *line)
{
    fprintf(to, "%-12s %s\n", "damage", line);
}

static void print_age(FILE *to, int64_t seconds)
{
    if (seconds >= 172800)
        fprintf(to, "%" PRId64 "d", seconds / 86400);
    else if (seconds >= 7200)
        fprintf(to, "%" PRId64 "h", seconds / 3600);
    else
        fprintf(to, "%" PRId64 "s", seconds < 0 ? 0 : seconds);
}

/* How far the old parts of the log have become sealed segments. */
static void print_sealing(FILE *to, const struct tlog_store_status *status, const struct tlog_bounds *sum)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    fprintf(to, "%-12s %" PRIu64 " of %" PRIu64 " bytes, %" PRIu64 " on disk for all\n", "sealed", sum->sealed_bytes,
            sum->committed, sum->disk_bytes);
    if (status->sealing[0] != '\0')
        fprintf(to, "%-12s %s\n", "sealing", status->sealing);
    if (status->unsealed_segments > 0) {
        fprintf(to, "%-12s %" PRIu64 " full segments, the oldest for ", "to be sealed", status->unsealed_segments);
        print_age(to, now.tv_sec - status->unsealed_ns / 1000000000);
        fputc('\n', to);
    }
    if (status->clock_doubted)
        fprintf(to, "%-12s far ahead of what it should be: retention.ms waits until the daemon has run for an hour\n",
                "clock");
}

static void print_trash(FILE *to, struct tfs *fs)
{
    struct tlog_trash_item *items;
    size_t count;
    uint64_t bytes = 0;

    if (tlog_store_trash(fs->store, &items, &count) != 0)
        return;
    for (size_t i = 0; i < count; i++)
        bytes += items[i].disk_bytes;
    free(items);
    fprintf(to, "%-12s %zu deleted, %" PRIu64 " bytes\n", "trash", count, bytes);
}

static void add_up(void *arg, struct tlog_partition *partition)
{
    struct tlog_bounds *sum = arg, bounds;

    tlog_partition_bounds(partition, &bounds);
    sum->end_seq += bounds.end_seq - bounds.start_seq;
    sum->committed += bounds.committed - bounds.start;
    sum->pending += bounds.pending;
    sum->disk_bytes += bounds.disk_bytes;
    sum->sealed_bytes += bounds.sealed_bytes;
    sum->segments += bounds.segments;
    sum->epoch++;
}

void tfs_status_store(struct tfs *fs, FILE *to)
{
    struct tlog_bounds sum = {0};
    struct tlog_store_status status;
    struct tlog_recovery recovery;
    struct tlog_topic **topics;
    struct timespec now;
    size_t count;

    tlog_store_status(fs->store, &status);
    tlog_store_recovery(fs->store, &recovery);
    clock_gettime(CLOCK_BOOTTIME, &now);
    fprintf(to, "%-12s topicfs %s\n", "version", TOPICFS_VERSION);
    fprintf(to, "%-12s %s\n", "store", fs->store_path);
    fprintf(to, "%-12s %s\n", "id", status.id);
    fprintf(to, "%-12s %s\n", "state",
            status.failed   ? "read-only: the journal could not be written, restart the daemon when the disk is well"
            : fs->read_only ? "mounted read-only"
                            : "well");
    if (status.copied)
        fprintf(to, "%-12s copied or moved, see adopt and clone in topicctl(1)\n", "identity");
    print_uptime(to, now.tv_sec - fs->started_ns / 1000000000);
    fprintf(to, "%-12s %" PRIu64 "\n", "topics", status.topics);
    fprintf(to, "%-12s %" PRIu64 "\n", "partitions", status.partitions);
    fprintf(to, "%-12s %" PRIu64 " of %" PRIu64 " bytes in use, %" PRIu64 " syncs\n", "journal",
            status.journal_used_bytes, status.journal_bytes, status.syncs);
    fprintf(to, "%-12s %" PRIu64 "\n", "open files", status.open_files);
    fprintf(to, "%-12s %" PRIu64 " in memory, %" PRIu64 " decompressed, %" PRIu64 " found\n", "frames", status.frames,
            status.frames_decompressed, status.frames_found);
    print_trash(to, fs);
    print_recovery(to, &recovery);
    if (tlog_store_topics(fs->store, &topics, &count) != 0)
        return;
    for (size_t i = 0; i < count; i++)
        each_partition(topics[i], add_up, &sum);
    print_sealing(to, &status, &sum);
    for (size_t i = 0; i < count; i++)
        each_partition(topics[i], print_trouble, to);
    tlog_topics_free(topics, count);
    tlog_store_damages(fs->store, print_damage, to);
}

void tfs_status_topic(struct tlog_topic *topic, FILE *to)
{
    struct tlog_bounds sum = {0}; /* epoch counts the partitions */
    char name[256], value[32];

    tlog_topic_name(topic, name);
    each_partition(topic, add_up, &sum);
    fprintf(to, "%-20s %s\n", "topic", name);
    fprintf(to, "%-20s ", "id");
    for (int i = 0; i < 16; i++)
        fprintf(to, "%02x", tlog_topic_id(topic)[i]);
    fprintf(to, "\n%-20s %u\n", "partitions", sum.epoch);
    fprintf(to, "%-20s %" PRIu64 "\n", "records", sum.end_seq);
    fprintf(to, "%-20s %" PRIu64 "\n", "bytes", sum.committed);
    fprintf(to, "%-20s %" PRIu64 "\n", "bytes on disk", sum.disk_bytes);
    fprintf(to, "%-20s %" PRIu64 "\n", "bytes sealed", sum.sealed_bytes);
    fprintf(to, "%-20s %" PRIu64 "\n", "segments", sum.segments);
    fprintf(to, "%-20s %" PRIu64 "\n", "bytes unfinished", sum.pending);
    for (int key = 0; key < TLOG_KEYS; key++)
        if (key != TLOG_PARTITIONS)
            fprintf(to, "%-20s %s\n", tlog_key_name((enum tlog_key)key),
                    tlog_key_format((enum tlog_key)key, tlog_topic_value(topic, (enum tlog_key)key), value));
    each_partition(topic, print_trouble, to);
}
