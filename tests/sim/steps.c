/* Steps that write, sync and read. */
#include "steps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void step_returned(struct work *work)
{
    if (work->returned)
        work->returned(work);
}

bool step_error(struct work *work, const char *call, int error)
{
    work->struck = true;
    if (work->faulty && (error == -EIO || error == -ENOSPC || error == -EROFS || error == -EMFILE))
        return true;
    return model_fail(&work->model, "%s answered %d", call, error);
}

struct model_topic *step_topic(struct work *work)
{
    struct model_topic *present[MODEL_TOPICS];
    size_t count = 0;
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        if (work->model.topics[i].present && work->model.topics[i].handle)
            present[count++] = &work->model.topics[i];
    return count ? present[sim_random_below(&work->random, count)] : NULL;
}

struct model_partition *step_partition(struct work *work)
{
    struct model_topic *topic = step_topic(work);
    struct model_partition *present[MODEL_PARTITIONS];
    size_t count = 0;
    for (size_t i = 0; topic && i < MODEL_PARTITIONS; i++)
        if (topic->partitions[i].handle)
            present[count++] = &topic->partitions[i];
    return count ? present[sim_random_below(&work->random, count)] : NULL;
}

bool step_has_writers(const struct work *work, const struct model_topic *topic)
{
    for (size_t i = 0; i < WORK_WRITERS; i++)
        if (work->writers[i].writer && work->writers[i].partition->topic == topic)
            return true;
    return false;
}

/* ---- text ---- */

struct text {
    char *bytes;
    size_t length;
};

static void text_add(struct text *text, const char *bytes, size_t length)
{
    text->bytes = realloc(text->bytes, text->length + length + 1);
    if (!text->bytes)
        abort();
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static void text_letters(struct work *work, struct text *text, size_t count)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789 ";
    for (size_t i = 0; i < count; i++)
        text_add(text, &letters[sim_random_below(&work->random, sizeof letters - 1)], 1);
}

static size_t some_length(struct work *work)
{
    if (sim_random_chance(&work->random, 3))
        return sim_random_below(&work->random, 3500);
    if (sim_random_chance(&work->random, 10))
        return sim_random_below(&work->random, 900);
    return sim_random_below(&work->random, 60);
}

/* The start of a line: no other line starts so. */
static void text_start(struct work *work, struct text *text)
{
    char number[32];
    int length = snprintf(number, sizeof number, "%" PRIu64 ":", ++work->lines);
    text_add(text, number, (size_t)length);
}

/* ---- appends ---- */

/* Lines of rests whose writers are gone, and that the log has appended by now. */
static void settle_orphans(struct work *work, struct model_partition *partition)
{
    struct tlog_bounds bounds;
    bool found = true;
    tlog_partition_bounds(partition->handle, &bounds);
    while (found && bounds.end > partition->end) {
        found = false;
        for (size_t i = 0; !found && i < partition->rest_count; i++) {
            struct model_rest *rest = partition->rests[i];
            size_t length = rest->line->length;
            if (rest->state != MODEL_ORPHAN || bounds.end - partition->end < length + 1)
                continue;
            char *text = malloc(length + 1);
            ssize_t got = tlog_partition_read(partition->handle, partition->end, text, length + 1);
            if (work->faulty && got < 0) /* a disk that fails once */
                got = tlog_partition_read(partition->handle, partition->end, text, length + 1);
            if (got == (ssize_t)length + 1 && text[length] == '\n' && !memcmp(text, rest->line->text, length)) {
                struct model_line *line = model_line_copy(rest->line);
                model_line_add(line, "\n", 1);
                model_partition_add(partition, line);
                model_partition_forget(partition, rest, true);
                found = true;
            }
            free(text);
        }
    }
}

static bool settle(struct work *work, struct model_partition *partition)
{
    struct tlog_bounds bounds;
    settle_orphans(work, partition);
    tlog_partition_bounds(partition->handle, &bounds);
    model_partition_durable(partition, bounds.durable);
    if (!model_partition_start(&work->model, partition, bounds.start))
        return false;
    if (bounds.end != partition->end || bounds.end_seq != partition->count)
        return model_fail(&work->model,
                          "%s/%u: after %s the end is %" PRIu64 " and end_seq %" PRIu64 ", not %" PRIu64 " and %zu",
                          partition->topic->name, tlog_partition_number(partition->handle), work->what, bounds.end,
                          bounds.end_seq, partition->end, partition->count);
    if (bounds.pending != model_partition_held(partition))
        return model_fail(&work->model, "%s/%u: after %s %" PRIu64 " bytes are pending, not %zu",
                          partition->topic->name, tlog_partition_number(partition->handle), work->what, bounds.pending,
                          model_partition_held(partition));
    return true;
}

/* Puts a line of the write, [at, end) of its text, into the flight. */
static void flight_line(struct model_flight *flight, struct model_line *line)
{
    if (flight->count == sizeof flight->lines / sizeof flight->lines[0])
        abort();
    flight->lines[flight->count++] = line;
}

static size_t write_compose(struct work *work, const struct work_writer *writer, struct text *data)
{
    struct model_flight *flight = &work->flight;
    const struct model_rest *held = writer->rest;
    bool crowded = held && held->line->piece_count + 2 >= MODEL_PIECES;
    unsigned lines = (unsigned)sim_random_below(&work->random, 4);
    bool rest = sim_random_chance(&work->random, 45) && !crowded;
    size_t whole = 0;
    if (!lines && !rest)
        lines = 1;
    flight->partition = writer->partition;
    for (unsigned i = 0; i < lines; i++) {
        struct model_line *line = i == 0 && held ? model_line_copy(held->line) : model_line_new("", 0);
        if (i == 0 && held)
            flight->ends = held;
        else
            text_start(work, data);
        text_letters(work, data, i == 0 && held && sim_random_chance(&work->random, 20) ? 0 : some_length(work));
        text_add(data, "\n", 1);
        model_line_add(line, data->bytes + whole, data->length - whole);
        whole = data->length;
        flight_line(flight, line);
    }
    if (rest) {
        flight->grows = !lines ? held : NULL;
        flight->rest = flight->grows ? model_line_copy(held->line) : model_line_new("", 0);
        if (!flight->grows)
            text_start(work, data);
        text_letters(work, data, 1 + some_length(work));
        model_line_add(flight->rest, data->bytes + whole, data->length - whole);
        model_line_accept(flight->rest);
    }
    return whole;
}

static bool append_raw(struct work *work, struct work_writer *writer)
{
    struct model_flight *flight = &work->flight;
    struct text data = {NULL, 0};
    flight->partition = writer->partition;
    text_start(work, &data);
    text_letters(work, &data, some_length(work));
    if (sim_random_chance(&work->random, 30))
        text_add(&data, "\n\0\n", 3);
    flight_line(flight, model_line_new(data.bytes, data.length));
    ssize_t result = tlog_writer_append(writer->writer, data.bytes, data.length, data.length, 1);
    step_returned(work);
    bool fine = result == (ssize_t)data.length || step_error(work, "a raw append", (int)result);
    settle_orphans(work, writer->partition);
    model_flight_land(flight, result > 0, false);
    free(data.bytes);
    return fine && settle(work, writer->partition);
}

bool step_append(struct work *work)
{
    struct work_writer *writer = &work->writers[sim_random_below(&work->random, WORK_WRITERS)];
    struct text data = {NULL, 0};
    if (!writer->writer)
        return true;
    if (writer->partition->topic->raw)
        return append_raw(work, writer);
    size_t whole = write_compose(work, writer, &data);
    unsigned lines = (unsigned)work->flight.count;
    bool rest = work->flight.rest;
    ssize_t result = tlog_writer_append(writer->writer, data.bytes, data.length, whole, lines);
    step_returned(work);
    if (getenv("TOPICFS_SIM_NOTES"))
        fprintf(stderr, "    writer %d, %s/%u at %" PRIu64 ": %zu bytes, %zu whole, %.20s: %zd\n",
                (int)(writer - work->writers), writer->partition->topic->name,
                tlog_partition_number(writer->partition->handle), writer->partition->end, data.length, whole,
                data.bytes, result);
    bool all = result == (ssize_t)data.length, some = whole && result == (ssize_t)whole;
    bool fine = all || (some && work->faulty) || step_error(work, "an append", (int)result);
    bool ends = work->flight.ends;
    settle_orphans(work, writer->partition);
    struct model_rest *held = model_flight_land(&work->flight, (all || some) && lines, all && rest);
    if (held || ((all || some) && ends))
        writer->rest = held;
    if (tlog_writer_held(writer->writer) != (writer->rest ? writer->rest->line->length : 0))
        fine = model_fail(&work->model, "the writer holds %zu bytes after %zd of %zu", tlog_writer_held(writer->writer),
                          result, data.length);
    free(data.bytes);
    return fine && settle(work, writer->partition);
}

bool step_append_bare(struct work *work)
{
    struct model_partition *partition = step_partition(work);
    struct text data = {NULL, 0};
    if (!partition)
        return true;
    work->flight.partition = partition;
    text_start(work, &data);
    if (work->large && sim_random_chance(&work->random, 10))
        text_letters(work, &data, 300000);
    else
        text_letters(work, &data, some_length(work));
    text_add(&data, "\n", 1);
    flight_line(&work->flight, model_line_new(data.bytes, data.length));
    int result = tlog_partition_append(partition->handle, data.bytes, data.length, 1);
    bool large = data.length > 262144;
    step_returned(work);
    bool fine = !result || step_error(work, "a bare append", result);
    settle_orphans(work, partition);
    model_flight_land(&work->flight, !result, false);
    free(data.bytes);
    if (large && fine && !result) {
        result = tlog_partition_sync_wait(partition->handle);
        step_returned(work);
        fine = !result || step_error(work, "the sync of a large append", result);
        if (!result)
            model_partition_synced(partition);
    }
    return fine && settle(work, partition);
}

/* ---- writers ---- */

static bool writer_close(struct work *work, struct work_writer *writer)
{
    struct model_partition *partition = writer->partition;
    struct tlog_bounds bounds;
    work->what = "closing a writer";
    if (getenv("TOPICFS_SIM_NOTES"))
        fprintf(stderr, "    close with %.20s\n", writer->rest ? writer->rest->line->text : "nothing");
    work->flight.partition = partition;
    if (writer->rest) {
        flight_line(&work->flight, model_line_copy(writer->rest->line));
        model_line_add(work->flight.lines[0], "\n", 1);
        work->flight.ends = writer->rest;
    }
    struct model_rest *rest = writer->rest;
    tlog_writer_close(writer->writer);
    memset(writer, 0, sizeof *writer);
    step_returned(work);
    model_flight_release(&work->flight);
    tlog_partition_bounds(partition->handle, &bounds);
    if (rest)
        rest->state = MODEL_ORPHAN;
    bool fine = settle(work, partition);
    bool waits = false;
    for (size_t i = 0; i < partition->rest_count; i++)
        waits |= partition->rests[i]->state == MODEL_ORPHAN;
    if (fine && waits && !work->faulty)
        return model_fail(&work->model, "%s: a closed writer's line was not appended", partition->topic->name);
    return fine;
}

bool step_writer(struct work *work)
{
    struct work_writer *writer = &work->writers[sim_random_below(&work->random, WORK_WRITERS)];
    if (writer->writer && writer->rest && sim_random_chance(&work->random, 10)) {
        work->what = "dropping a rest";
        work->flight.partition = writer->partition;
        work->flight.drops = writer->rest;
        tlog_writer_drop(writer->writer);
        if (getenv("TOPICFS_SIM_NOTES"))
            fprintf(stderr, "    drop of %.20s\n", writer->rest->line->text);
        step_returned(work);
        model_flight_release(&work->flight);
        writer->rest->state = MODEL_DROPPED;
        writer->rest->loose = work->faulty;
        writer->rest = NULL;
        return settle(work, writer->partition);
    }
    if (writer->writer)
        return writer_close(work, writer);
    struct model_partition *partition = step_partition(work);
    if (!partition)
        return true;
    int result = tlog_writer_open(&writer->writer, partition->handle);
    step_returned(work);
    if (result) {
        writer->writer = NULL;
        return step_error(work, "opening a writer", result);
    }
    writer->partition = partition;
    return true;
}

/* ---- durability ---- */

static bool synced(struct work *work, struct model_partition *partition, int result)
{
    if (getenv("TOPICFS_SIM_NOTES"))
        fprintf(stderr, "    %s/%u: sync of %" PRIu64 " bytes: %d\n", partition->topic->name,
                tlog_partition_number(partition->handle), partition->end, result);
    if (result)
        return step_error(work, "a sync", result);
    model_partition_synced(partition);
    struct tlog_bounds bounds;
    tlog_partition_bounds(partition->handle, &bounds);
    if (bounds.durable != bounds.end)
        return model_fail(&work->model, "%s: durable is %" PRIu64 " after a sync of %" PRIu64, partition->topic->name,
                          bounds.durable, bounds.end);
    return settle(work, partition);
}

bool step_sync(struct work *work)
{
    struct model_partition *partition = step_partition(work);
    if (!partition)
        return true;
    int result = tlog_partition_sync_wait(partition->handle);
    step_returned(work);
    return synced(work, partition, result);
}

struct many {
    struct tlog_waiter waiter; /* first: the callback gets it back */
    int result;                /* 1: not yet */
};

static void many_done(struct tlog_waiter *waiter, int result)
{
    union {
        struct tlog_waiter *waiter;
        struct many *many;
    } both = {.waiter = waiter};
    both.many->result = result;
}

bool step_sync_many(struct work *work)
{
    struct model_partition *partitions[3];
    struct many many[3];
    size_t count = 0;
    bool fine = true;
    for (size_t i = 0; i < 3; i++) {
        partitions[count] = step_partition(work);
        bool twice = !partitions[count];
        for (size_t j = 0; j < count; j++)
            twice |= partitions[j] == partitions[count];
        count += !twice;
    }
    for (size_t i = 0; i < count; i++) {
        many[i] = (struct many){.waiter = {.done = many_done}, .result = 1};
        tlog_partition_sync(partitions[i]->handle, &many[i].waiter);
    }
    for (unsigned tries = 0; tries < 100; tries++) {
        bool all = true;
        for (size_t i = 0; i < count; i++)
            all &= many[i].result != 1;
        if (all)
            break;
        (void)tlog_store_upkeep(work->store);
    }
    step_returned(work);
    for (size_t i = 0; i < count; i++) {
        if (many[i].result == 1) {
            model_fail(&work->model, "a sync was never answered");
            abort(); /* the waiter is the library's still: no way to go on */
        }
        fine = synced(work, partitions[i], many[i].result) && fine;
    }
    return fine;
}

bool step_settle(struct work *work)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        for (size_t j = 0; j < MODEL_PARTITIONS; j++) {
            struct model_partition *partition = &work->model.topics[i].partitions[j];
            if (partition->handle && !settle(work, partition))
                return false;
        }
    return true;
}

bool step_upkeep(struct work *work)
{
    static const int64_t pauses[] = {1000000, 150000000, 150000000, 6000000000, 4000000000000};
    simdisk_advance(work->disk, pauses[sim_random_below(&work->random, 5)]);
    if (sim_random_chance(&work->random, 5))
        simdisk_jump(work->disk, (int64_t)sim_random_below(&work->random, 2000) * 1000000000 - INT64_C(1000000000000));
    (void)tlog_store_upkeep(work->store);
    step_returned(work);
    return step_settle(work);
}

bool step_store_sync(struct work *work)
{
    int result = tlog_store_sync(work->store);
    step_returned(work);
    if (result)
        return step_error(work, "the store's sync", result);
    for (size_t i = 0; i < MODEL_TOPICS; i++) {
        struct model_topic *topic = &work->model.topics[i];
        for (size_t j = 0; j < MODEL_PARTITIONS; j++)
            if (topic->partitions[j].handle)
                model_partition_synced(&topic->partitions[j]);
        topic->may_vanish = false;
        topic->may_return = topic->may_return && work->faulty; /* the sync of its removal may have been refused */
        topic->old_name[0] = '\0';
    }
    return step_settle(work);
}

bool step_read(struct work *work)
{
    struct model_partition *partition = step_partition(work);
    return !partition || model_check_live(&work->model, partition);
}
