/* Recovery of a store: the checkpoint, the journal, every partition, then the unfinished lines.
 *
 * Three cases (DESIGN, section 3). The same boot: the page cache outlived the process, so files are believed up
 * to their last entry, and whole lines past it are indexed. Another boot: from `synced` on only entries whose
 * chain verifies count, with what the journal holds put in their place; the rest is kept beside the log. A
 * copied store: journal and checkpoint belong to the original; every index is believed as far as its chains
 * verify at the segments' tails. */
#include "log/recover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/error.h"

/* ---- what the journal holds ---- */

static int keep_record(struct tlog_recover *recover, const struct tlog_journal_record *record)
{
    if ((recover->count & (recover->count - 1)) == 0) {
        size_t room = recover->count ? 2 * recover->count : 1;
        struct tlog_replayed *grown = realloc(recover->records, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        recover->records = grown;
    }
    struct tlog_replayed *kept = &recover->records[recover->count];
    *kept = (struct tlog_replayed){.type = record->type,
                                   .partition = record->partition,
                                   .lsn = record->lsn,
                                   .body_bytes = record->body_bytes,
                                   .body = malloc(record->body_bytes + 1)};
    if (!kept->body)
        return -ENOMEM;
    memcpy(kept->topic_id, record->topic_id, 16);
    memcpy(kept->body, record->body, record->body_bytes);
    recover->count++;
    return 0;
}

static struct tlog_left_rest **find_rest(struct tlog_recover *recover, const struct tlog_journal_record *record)
{
    struct tlog_left_rest **link = &recover->rests;
    while (*link &&
           (memcmp((*link)->topic_id, record->topic_id, 16) != 0 || (*link)->partition != record->partition ||
            (*link)->producer != tlog_get_u64(record->body) || (*link)->producer_seq != tlog_get_u32(record->body + 8)))
        link = &(*link)->next;
    return link;
}

static void free_rest(struct tlog_left_rest **link)
{
    struct tlog_left_rest *rest = *link;
    *link = rest->next;
    free(rest->data);
    free(rest);
}

static int keep_rest(struct tlog_recover *recover, const struct tlog_journal_record *record)
{
    struct tlog_left_rest **link = find_rest(recover, record);
    size_t before = tlog_get_u32(record->body + 12), bytes = record->body_bytes - 24;
    if (!*link) {
        *link = calloc(1, sizeof **link);
        if (!*link)
            return -ENOMEM;
        memcpy((*link)->topic_id, record->topic_id, 16);
        (*link)->partition = record->partition;
        (*link)->producer = tlog_get_u64(record->body);
        (*link)->producer_seq = tlog_get_u32(record->body + 8);
    }
    struct tlog_left_rest *rest = *link;
    if (before > rest->bytes) { /* its beginning was given up: it had ended */
        free_rest(link);
        return 0;
    }
    if (!rest->data || before + bytes > rest->bytes) {
        uint8_t *grown = realloc(rest->data, before + bytes + 1);
        if (!grown)
            return -ENOMEM;
        rest->data = grown;
    }
    memcpy(rest->data + before, record->body + 24, bytes);
    /* From its first byte on again: it is carried over, perhaps not to its end. Else it goes on where it says, which
     * is before its end when the last piece could not be written whole. */
    bool carried = before == 0 || before == rest->carried;
    rest->carried = carried ? before + bytes : 0;
    if (!carried || before + bytes > rest->bytes)
        rest->bytes = before + bytes;
    if (before == 0)
        rest->pos = tlog_get_u64(record->body + 16);
    return 0;
}

static int each_record(void *arg, const struct tlog_journal_record *record)
{
    struct tlog_recover *recover = arg;
    switch (record->type) {
    case TLOG_JOURNAL_APPEND:
    case TLOG_JOURNAL_FILES:
    case TLOG_JOURNAL_START:
        return keep_record(recover, record);
    case TLOG_JOURNAL_REST:
        return record->body_bytes < 24 ? -EBADMSG : keep_rest(recover, record);
    case TLOG_JOURNAL_DROP: {
        struct tlog_left_rest **link = record->body_bytes < 12 ? NULL : find_rest(recover, record);
        if (link && *link)
            free_rest(link);
        return 0;
    }
    }
    return -EBADMSG; /* a type of a newer format */
}

static int compare(const void *a, const void *b)
{
    const struct tlog_replayed *left = a, *right = b;
    int order = memcmp(left->topic_id, right->topic_id, 16);
    if (order == 0)
        order = (left->partition > right->partition) - (left->partition < right->partition);
    return order != 0 ? order : (left->lsn > right->lsn) - (left->lsn < right->lsn);
}

struct tlog_replayed *tlog_recover_records(struct tlog_recover *recover, const struct tlog_partition *p, size_t *count)
{
    struct tlog_replayed key = {.partition = p->number};
    memcpy(key.topic_id, p->topic->id, 16);
    size_t low = 0, high = recover->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(&recover->records[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *count = 0;
    while (low + *count < recover->count && recover->records[low + *count].partition == p->number &&
           memcmp(recover->records[low + *count].topic_id, p->topic->id, 16) == 0)
        ++*count;
    return recover->records + low;
}

static int each_start(void *arg, const struct tlog_journal_record *record)
{
    return record->type == TLOG_JOURNAL_START ? keep_record(arg, record) : 0;
}

/* Of a store that is only looked at: what was trimmed last. What else the journal holds is for a start to put in. */
static int look_at_journal(struct tlog_recover *recover)
{
    struct tlog_store *store = recover->store;
    struct tlog_journal journal;
    char path[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/journal", store->ground.path);
    int r = tlog_journal_look(&journal, store->ground.io, path, store->id);
    if (r == 0 && !recover->copied)
        r = tlog_journal_replay(&journal, recover->checkpoint.lsn, each_start, recover);
    tlog_journal_close(&journal);
    return r;
}

static int read_past(struct tlog_recover *recover, struct tlog_error *error)
{
    struct tlog_store *store = recover->store;
    int r =
        recover->copied ? -ENOENT : tlog_checkpoint_read(store->ground.io, store->ground.path, &recover->checkpoint);
    if (r == -EBADMSG || (r == 0 && memcmp(recover->checkpoint.store_id, store->id, 16) != 0)) {
        tlog_ground_note(&store->ground, "the checkpoint is damaged: every log is read from its start");
        free(recover->checkpoint.rows);
        memset(&recover->checkpoint, 0, sizeof recover->checkpoint);
        recover->lost = true;
    } else if (r < 0 && r != -ENOENT) {
        tlog_error_set(error, "checkpoint: %s", strerror(-r));
        return r;
    }
    recover->same_boot = recover->checkpoint.boot_id[0] && strcmp(recover->checkpoint.boot_id, store->boot_id) == 0;
    if (store->ground.options.read_only)
        r = look_at_journal(recover);
    else
        r = tlog_journal_replay(&store->ground.journal, recover->checkpoint.lsn, each_record, recover);
    if (r < 0)
        tlog_error_set(error, "journal: %s", r == -EBADMSG ? "a record of a newer format" : strerror(-r));
    else if (recover->count > 0)
        qsort(recover->records, recover->count, sizeof *recover->records, compare);
    return r;
}

/* ---- topics ---- */

int tlog_recover_add_partition(struct tlog_recover *recover, struct tlog_topic *topic, uint32_t number,
                               struct tlog_error *error)
{
    char dir[TLOG_NAME_BYTES];
    struct tlog_partition *p;
    struct tlog_store *store = recover->store;
    int r = tlog_partition_new(&p, &topic->head, number);
    if (r < 0)
        return r;
    pthread_mutex_lock(&p->lock);
    tlog_partition_dir(p, dir);
    p->attr_own = tlog_attr_read(store->ground.io, dir, &p->attr, &p->set_mtime_ns, &p->set_mtime_end) == 0;
    r = store->ground.options.read_only ? tlog_partition_look(recover, p, error)
                                        : tlog_partition_recover(recover, p, error);
    if (r == 0)
        r = tlog_topic_place(topic, p);
    if (r == 0 && (p->synced < p->end || p->first_lsn != 0 || p->files_unlisted))
        tlog_partition_dirtied(p);
    p->deleted = r < 0; /* upkeep may have heard of it */
    pthread_mutex_unlock(&p->lock);
    if (r < 0) {
        tlog_error_prefix(error, "%s/%u", topic->head.name, number);
        tlog_partition_put(p);
        return r;
    }
    store->ground.recovery.partitions++;
    if (p->damaged)
        store->ground.recovery.damaged++;
    return 0;
}

struct listing {
    struct tlog_store *store;
    const char *dir;
    uint32_t *numbers;
    char **names;
    size_t count;
};

/* What was not made, or not removed, to its end. */
static bool is_unfinished(const struct listing *listing, const char *name)
{
    size_t length = strlen(name);
    return !listing->store->ground.options.read_only &&
           ((length > 4 && strcmp(name + length - 4, ".new") == 0) || strncmp(name, ".gone.", 6) == 0);
}

static void remove_unfinished(const struct listing *listing, const char *name)
{
    char path[TLOG_NAME_BYTES];
    if (snprintf(path, sizeof path, "%s/%s", listing->dir, name) >= (int)sizeof path)
        return;
    if (name[0] == '.')
        tlog_tree_remove(listing->store->ground.io, path);
    else
        (void)listing->store->ground.io->unlink(listing->store->ground.io, path);
}

static int add_number(void *arg, const char *name)
{
    struct listing *listing = arg;
    char *end, again[16];
    if (is_unfinished(listing, name))
        remove_unfinished(listing, name);
    unsigned long number = strtoul(name, &end, 10);
    snprintf(again, sizeof again, "%lu", number);
    if (number > UINT32_MAX / 2 || strcmp(name, again) != 0)
        return 0;
    uint32_t *grown = realloc(listing->numbers, (listing->count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    listing->numbers = grown;
    grown[listing->count++] = (uint32_t)number;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static int find_bytes(void *arg, const char *name)
{
    const struct listing *listing = arg;
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    size_t length = strlen(name);
    return length > 4 && (strcmp(name + length - 4, ".log") == 0 || strcmp(name + length - 4, ".zst") == 0) &&
           snprintf(path, sizeof path, "%s/%s", listing->dir, name) < (int)sizeof path &&
           listing->store->ground.io->stat_path(listing->store->ground.io, path, &st) == 0 && st.size_bytes > 0;
}

static int find_records(void *arg, const char *name)
{
    const struct listing *listing = arg;
    char dir[TLOG_NAME_BYTES];
    struct listing below = {.store = listing->store, .dir = dir};
    return snprintf(dir, sizeof dir, "%s/%s", listing->dir, name) < (int)sizeof dir &&
           below.store->ground.io->list(below.store->ground.io, dir, find_bytes, &below) == 1;
}

/* A topic without topic.conf: its making was cut short before it had an id, and nothing can have been accepted,
 * or somebody removed it, and there are records. */
static int without_conf(struct tlog_store *store, const char *name, struct tlog_error *error)
{
    char dir[TLOG_NAME_BYTES];
    struct listing listing = {.store = store, .dir = dir};
    snprintf(dir, sizeof dir, "%s/topics/%s", store->ground.path, name);
    if (store->ground.io->list(store->ground.io, dir, find_records, &listing) == 1) {
        tlog_error_set(error, "topic %s: topic.conf is missing, and there are records", name);
        return -EBADMSG;
    }
    if (store->ground.options.read_only)
        return 0;
    tlog_ground_note(&store->ground, "%s: the topic had not been made to the end, it is removed", name);
    tlog_tree_remove(store->ground.io, dir);
    return 0;
}

int tlog_recover_topic(struct tlog_recover *recover, const char *name, struct tlog_error *error)
{
    char dir[TLOG_NAME_BYTES];
    struct tlog_topic *topic;
    struct tlog_store *store = recover->store;
    struct listing listing = {.store = store, .dir = dir};
    int r = tlog_topic_load(&store->ground, name, &topic, error);
    if (r == -ENOENT)
        return without_conf(store, name, error);
    if (r < 0)
        return r;
    atomic_store(&topic->head.unlisted, true);
    tlog_topic_dir(&topic->head, dir);
    r = store->ground.io->list(store->ground.io, dir, add_number, &listing);
    if (r == 0 && listing.count > 0)
        qsort(listing.numbers, listing.count, sizeof *listing.numbers, by_number);
    for (size_t i = 0; r == 0 && i < listing.count; i++)
        r = tlog_recover_add_partition(recover, topic, listing.numbers[i], error);
    free(listing.numbers);
    if (r == 0)
        r = tlog_table_add(store, topic);
    if (r < 0) {
        tlog_topic_forget(topic);
        tlog_topic_unref(topic);
    }
    return r;
}

static int add_topic(void *arg, const char *name)
{
    struct listing *listing = arg;
    if (name[0] == '.' && is_unfinished(listing, name))
        remove_unfinished(listing, name);
    if (tlog_topic_check_name(name) < 0)
        return 0;
    char **grown = realloc(listing->names, (listing->count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    listing->names = grown;
    grown[listing->count] = strdup(name);
    return grown[listing->count++] ? 0 : -ENOMEM;
}

static int recover_topics(struct tlog_recover *recover, struct tlog_error *error)
{
    char topics[TLOG_NAME_BYTES];
    struct tlog_store *store = recover->store;
    struct listing listing = {.store = store, .dir = topics};
    snprintf(topics, sizeof topics, "%s/topics", store->ground.path);
    int r = store->ground.io->list(store->ground.io, topics, add_topic, &listing);
    if (r < 0)
        tlog_error_set(error, "topics: %s", strerror(-r));
    for (size_t i = 0; i < listing.count; i++) {
        if (r == 0)
            r = tlog_recover_topic(recover, listing.names[i], error);
        free(listing.names[i]);
    }
    free(listing.names);
    return r;
}

/* ---- unfinished lines ---- */

static struct tlog_partition *find_partition(struct tlog_store *store, const uint8_t topic_id[16], uint32_t number)
{
    for (size_t i = 0; i < store->topic_count; i++)
        if (memcmp(store->topics[i]->head.id, topic_id, 16) == 0)
            return tlog_partition_get(store->topics[i], number);
    return NULL;
}

static int end_rests(struct tlog_recover *recover, struct tlog_error *error)
{
    for (struct tlog_left_rest *rest = recover->rests; rest; rest = rest->next) {
        struct tlog_partition *p = find_partition(recover->store, rest->topic_id, rest->partition);
        if (!p) /* deleted since, or it never became durable */
            continue;
        pthread_mutex_lock(&p->lock);
        /* A log that a power cut has shortened may hold the line further down: a start that was killed ended it. */
        if (!recover->same_boot && rest->pos > p->synced)
            rest->pos = p->synced;
        int r = tlog_partition_end_rest(p, rest);
        if (r == 1) {
            recover->store->ground.recovery.ended_rests++;
            tlog_ground_note(&recover->store->ground, "%s/%u: an unfinished line of %zu bytes was appended as a line",
                             p->topic->name, p->number, rest->bytes);
        } else if (r < 0) {
            tlog_error_set(error, "%s/%u: appending an unfinished line: %s", p->topic->name, p->number, strerror(-r));
        }
        pthread_mutex_unlock(&p->lock);
        tlog_partition_unref(p);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The clock goes on from the checkpoint or the newest record. */
static void start_clock(struct tlog_recover *recover)
{
    struct tlog_store *store = recover->store;
    const struct tlog_io *io = store->ground.io;
    int64_t newest_ns = 0;
    for (size_t i = 0; i < store->topic_count; i++)
        for (unsigned k = 0; k < store->topics[i]->partition_count; k++)
            if (store->topics[i]->partitions[k] && store->topics[i]->partitions[k]->closed.time_ns > newest_ns)
                newest_ns = store->topics[i]->partitions[k]->closed.time_ns;
    tlog_clock_start(&store->ground.clock, &recover->checkpoint.clock, recover->same_boot, newest_ns,
                     io->realtime_ns(io), io->boottime_ns(io));
}

/* A copy's checkpoint speaks of the original's files, and nobody may ever take it for this store's. */
static int forget_checkpoint(struct tlog_store *store)
{
    char path[TLOG_NAME_BYTES];
    snprintf(path, sizeof path, "%s/checkpoint", store->ground.path);
    int r = store->ground.io->unlink(store->ground.io, path);
    return r == -ENOENT ? 0 : r;
}

int tlog_store_recover(struct tlog_store *store, bool copied, struct tlog_error *error)
{
    struct tlog_recover recover = {.store = store, .copied = copied};
    int r = copied && !store->ground.options.read_only ? forget_checkpoint(store) : 0;
    if (r == 0)
        r = read_past(&recover, error);
    if (r == 0)
        r = recover_topics(&recover, error);
    start_clock(&recover);
    if (r == 0)
        r = end_rests(&recover, error);
    /* After another boot everything is made durable anew; then the old journal is not needed. */
    if (r == 0 && !store->ground.options.read_only && !recover.same_boot) {
        store->recovering = true;
        r = tlog_upkeep_flush_all(store);
        store->recovering = false;
        if (r < 0)
            tlog_error_set(error, "syncing what was recovered: %s", strerror(-r));
    }
    while (recover.rests)
        free_rest(&recover.rests);
    for (size_t i = 0; i < recover.count; i++)
        free(recover.records[i].body);
    free(recover.records);
    free(recover.checkpoint.rows);
    return r;
}
