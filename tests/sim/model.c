/* The memory of a workload: lines, rests, partitions. */
#include "model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

void model_init(struct model *model, const char *scratch)
{
    memset(model, 0, sizeof *model);
    model->scratch = scratch;
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        for (size_t j = 0; j < MODEL_PARTITIONS; j++)
            model->topics[i].partitions[j].topic = &model->topics[i];
}

static void partition_release(struct model_partition *partition)
{
    while (partition->rest_count)
        model_partition_forget(partition, partition->rests[0], true);
    for (size_t i = 0; i < partition->count; i++)
        model_line_free(partition->lines[i]);
    free(partition->lines);
    free(partition->rests);
}

void model_release(struct model *model)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        for (size_t j = 0; j < MODEL_PARTITIONS; j++)
            partition_release(&model->topics[i].partitions[j]);
}

bool model_fail(struct model *model, const char *format, ...)
{
    va_list args;
    if (!*model->why) {
        va_start(args, format);
        vsnprintf(model->why, sizeof model->why, format, args);
        va_end(args);
    }
    return false;
}

struct model_line *model_line_new(const char *text, size_t length)
{
    struct model_line *line = must(calloc(1, sizeof *line));
    model_line_add(line, text, length);
    return line;
}

struct model_line *model_line_copy(const struct model_line *from)
{
    struct model_line *line = must(malloc(sizeof *line));
    *line = *from;
    line->text = NULL;
    line->length = 0;
    model_line_add(line, from->text, from->length);
    return line;
}

void model_line_add(struct model_line *line, const char *text, size_t length)
{
    line->text = must(realloc(line->text, line->length + length + 1));
    memcpy(line->text + line->length, text, length);
    line->length += length;
    line->text[line->length] = '\0';
}

void model_line_free(struct model_line *line)
{
    if (line)
        free(line->text);
    free(line);
}

void model_line_accept(struct model_line *line)
{
    if (line->piece_count == MODEL_PIECES)
        abort();
    line->pieces[line->piece_count++] = line->length;
}

void model_partition_add(struct model_partition *partition, struct model_line *line)
{
    if (partition->count == partition->capacity) {
        partition->capacity = partition->capacity ? partition->capacity * 2 : 64;
        partition->lines = must(realloc(partition->lines, partition->capacity * sizeof *partition->lines));
    }
    partition->lines[partition->count++] = line;
    partition->end += line->length;
}

struct model_rest *model_partition_hold(struct model_partition *partition, struct model_line *line)
{
    struct model_rest *rest = must(calloc(1, sizeof *rest));
    rest->line = line;
    if (partition->rest_count == partition->rest_capacity) {
        partition->rest_capacity = partition->rest_capacity ? partition->rest_capacity * 2 : 8;
        partition->rests = must(realloc(partition->rests, partition->rest_capacity * sizeof *partition->rests));
    }
    partition->rests[partition->rest_count++] = rest;
    return rest;
}

void model_partition_forget(struct model_partition *partition, const struct model_rest *rest, bool line)
{
    for (size_t i = 0; i < partition->rest_count; i++) {
        struct model_rest *found = partition->rests[i];
        if (found != rest)
            continue;
        if (line)
            model_line_free(found->line);
        free(found);
        partition->rests[i] = partition->rests[--partition->rest_count];
        return;
    }
    abort();
}

void model_partition_synced(struct model_partition *partition)
{
    partition->durable = partition->count;
    for (size_t i = partition->rest_count; i-- > 0;) {
        struct model_rest *rest = partition->rests[i];
        if (rest->state == MODEL_DROPPED && !rest->loose)
            model_partition_forget(partition, rest, true);
        else if (rest->state != MODEL_DROPPED)
            rest->line->durable = rest->line->piece_count;
    }
    struct model_topic *topic = partition->topic;
    topic->may_vanish = false;
    topic->old_name[0] = '\0';
}

void model_partition_durable(struct model_partition *partition, uint64_t pos)
{
    uint64_t at = 0;
    for (size_t i = 0; i < partition->count && (at += partition->lines[i]->length) <= pos; i++)
        if (i >= partition->durable)
            partition->durable = i + 1;
}

size_t model_partition_lines(const struct model_partition *partition, uint64_t pos, bool *exact)
{
    uint64_t at = 0;
    size_t i = 0;
    while (i < partition->count && at + partition->lines[i]->length <= pos)
        at += partition->lines[i++]->length;
    if (exact)
        *exact = at == pos;
    return i;
}

bool model_partition_start(struct model *model, struct model_partition *partition, uint64_t pos)
{
    bool exact;
    size_t first = model_partition_lines(partition, pos, &exact);
    if (!exact || first < partition->first)
        return model_fail(model, "%s: it starts at pos %" PRIu64 ", %s", partition->topic->name, pos,
                          exact ? "below where it started before" : "inside a line");
    if (first > partition->first_most && !partition->topic->retention)
        return model_fail(model, "%s: it starts at pos %" PRIu64 ", and nobody trimmed it so far",
                          partition->topic->name, pos);
    partition->first = first;
    partition->first_most = first > partition->first_most ? first : partition->first_most;
    model_partition_durable(partition, pos);
    return true;
}

size_t model_partition_held(const struct model_partition *partition)
{
    size_t held = 0;
    for (size_t i = 0; i < partition->rest_count; i++)
        held += partition->rests[i]->state != MODEL_DROPPED ? partition->rests[i]->line->length : 0;
    return held;
}

struct model_rest *model_flight_land(struct model_flight *flight, bool lines, bool rest)
{
    struct model_partition *partition = flight->partition;
    struct model_rest *held = NULL;
    for (size_t i = 0; lines && i < flight->count; i++) {
        model_partition_add(partition, flight->lines[i]);
        flight->lines[i] = NULL;
    }
    if (lines && flight->ends)
        model_partition_forget(partition, flight->ends, true);
    if (rest && flight->rest) {
        flight->rest->answered = flight->rest->piece_count;
        for (size_t i = 0; flight->grows && i < partition->rest_count; i++)
            held = partition->rests[i] == flight->grows ? partition->rests[i] : held;
        if (held) {
            model_line_free(held->line);
            held->line = flight->rest;
        } else {
            held = model_partition_hold(partition, flight->rest);
        }
        flight->rest = NULL;
    }
    model_flight_release(flight);
    return held;
}

void model_flight_release(struct model_flight *flight)
{
    for (size_t i = 0; i < flight->count; i++)
        model_line_free(flight->lines[i]);
    model_line_free(flight->rest);
    memset(flight, 0, sizeof *flight);
}
