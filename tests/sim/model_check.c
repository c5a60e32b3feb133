/* The judge: what a crash left of a store, against what was promised. */
#include "model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A partition as read back: its bytes, cut into lines (or, raw, into entries). */
struct found {
    const struct model_partition *expected;
    char *bytes;
    size_t length;
    struct {
        size_t at, length;
    } * lines;
    size_t count, capacity;
    /* checking the entries */
    struct model *model;
    struct tlog_entry last;
    bool any;
    uint64_t start; /* where it begins; what lies below was trimmed, and stands in `bytes` as it was written */
    size_t first;   /* of the lines */
};

static const char *label(const struct model_partition *partition)
{
    static _Thread_local char text[300];
    snprintf(text, sizeof text, "%s/%u", partition->topic->name, (unsigned)(partition - partition->topic->partitions));
    return text;
}

static void found_add(struct found *found, size_t at, size_t length)
{
    if (found->count == found->capacity) {
        found->capacity = found->capacity ? found->capacity * 2 : 64;
        found->lines = realloc(found->lines, found->capacity * sizeof *found->lines);
        if (!found->lines)
            abort();
    }
    found->lines[found->count].at = at;
    found->lines[found->count++].length = length;
}

static int entry_check(void *arg, const struct tlog_entry *entry)
{
    struct found *found = arg;
    const struct tlog_entry *last = &found->last;
    const char *name = label(found->expected);
    bool fine = true;
    if (getenv("TOPICFS_SIM_NOTES"))
        fprintf(stderr,
                "    %s: entry pos %" PRIu64 " seq %" PRIu64 " length %u records %u flags %u time %" PRId64
                " chain %" PRIu64 "\n",
                name, entry->pos, entry->seq, entry->length_bytes, entry->records, entry->flags, entry->time_ns,
                entry->chain);
    if (!found->any && (entry->pos != found->start || entry->seq != found->first))
        fine =
            model_fail(found->model, "%s: the first entry is at pos %" PRIu64 " seq %" PRIu64 ", not %" PRIu64 " %zu",
                       name, entry->pos, entry->seq, found->start, found->first);
    if (found->any && entry->pos != last->pos + last->length_bytes)
        fine = model_fail(found->model, "%s: an entry at pos %" PRIu64 " after one that ends at %" PRIu64, name,
                          entry->pos, last->pos + last->length_bytes);
    if (found->any && entry->seq != last->seq + last->records)
        fine = model_fail(found->model, "%s: an entry of seq %" PRIu64 " where %" PRIu64 " was next", name, entry->seq,
                          last->seq + last->records);
    if (found->any && entry->time_ns < last->time_ns)
        fine = model_fail(found->model, "%s: the time of seq %" PRIu64 " is before that of the entry before", name,
                          entry->seq);
    if (entry->pos + entry->length_bytes > found->length)
        fine = model_fail(found->model, "%s: an entry ends at pos %" PRIu64 ", the log at %zu", name,
                          entry->pos + entry->length_bytes, found->length);
    if (found->expected->topic->raw && entry->length_bytes)
        found_add(found, entry->pos, entry->length_bytes);
    found->last = *entry;
    found->any = true;
    return fine ? 0 : 1;
}

static bool cut_lines(struct found *found)
{
    struct model *model = found->model;
    const char *name = label(found->expected);
    if (found->expected->topic->raw) {
        size_t end = found->any ? found->last.pos + found->last.length_bytes : found->start;
        return end == found->length ||
               model_fail(model, "%s: raw bytes %zu..%zu are in no entry", name, end, found->length);
    }
    for (size_t at = 0; at < found->length;) {
        const char *newline = memchr(found->bytes + at, '\n', found->length - at);
        size_t length = newline ? (size_t)(newline - found->bytes) + 1 - at : 0;
        if (!newline)
            return model_fail(model, "%s: the last line, at pos %zu of %zu, has no newline", name, at, found->length);
        if (memchr(found->bytes + at, '\0', length))
            return model_fail(model, "%s: a NUL in the line at pos %zu", name, at);
        found_add(found, at, length);
        at += length;
    }
    return true;
}

/* Where it begins is where a trim may have put it. */
static bool start_check(struct found *found, const struct tlog_bounds *bounds, const struct model_flight *flight,
                        enum model_crash crash)
{
    const struct model_partition *partition = found->expected;
    bool exact, trims = flight && flight->trims == partition;
    size_t first = model_partition_lines(partition, bounds->start, &exact);
    size_t least = crash == MODEL_COPY ? 0 : partition->first, most = partition->first_most;
    if (trims)
        most = model_partition_lines(partition, flight->trim_pos, NULL);
    if (partition->topic->retention && (crash == MODEL_COPY || (flight && flight->maintains)))
        most = partition->count;
    if (!exact || bounds->start_seq != first || first < least || first > most)
        return model_fail(
            found->model, "%s: it starts at pos %" PRIu64 " seq %" PRIu64 ", that is line %zu%s; allowed is %zu to %zu",
            label(partition), bounds->start, bounds->start_seq, first, exact ? "" : " and a piece", least, most);
    found->start = bounds->start;
    found->first = first;
    found->model->sealed += bounds->sealed_bytes > 0;
    found->model->trimmed += first > 0;
    return true;
}

/* What was trimmed, as it was written. */
static void found_fill(struct found *found)
{
    const struct model_partition *partition = found->expected;
    for (size_t i = 0, at = 0; i < found->first; at += partition->lines[i++]->length) {
        memcpy(found->bytes + at, partition->lines[i]->text, partition->lines[i]->length);
        if (partition->topic->raw)
            found_add(found, at, partition->lines[i]->length);
    }
}

/* Reads everything, in one piece and in views, and looks at the index. */
static bool found_read(struct found *found, struct tlog_partition *partition, const struct model_flight *flight,
                       enum model_crash crash)
{
    struct tlog_bounds bounds;
    const char *name = label(found->expected);
    tlog_partition_bounds(partition, &bounds);
    if (bounds.damaged)
        return model_fail(found->model, "%s: recovery speaks of damage", name);
    if (bounds.start > bounds.end || bounds.committed != bounds.end || bounds.durable > bounds.end)
        return model_fail(found->model,
                          "%s: start %" PRIu64 ", committed %" PRIu64 ", durable %" PRIu64 ", end %" PRIu64, name,
                          bounds.start, bounds.committed, bounds.durable, bounds.end);
    if (!start_check(found, &bounds, flight, crash))
        return false;
    found->length = bounds.end;
    found->bytes = malloc(bounds.end + 1);
    found_fill(found);
    ssize_t length =
        tlog_partition_read(partition, bounds.start, found->bytes + bounds.start, bounds.end - bounds.start);
    if (length != (ssize_t)(bounds.end - bounds.start))
        return model_fail(found->model, "%s: reading %" PRIu64 " bytes gave %zd", name, bounds.end - bounds.start,
                          length);
    for (uint64_t pos = bounds.start; pos < bounds.end;) {
        struct tlog_view view;
        int error = tlog_partition_view(partition, pos, bounds.end - pos, true, &view);
        if (error || !view.length)
            return model_fail(found->model, "%s: a view of pos %" PRIu64 " gave %d and %zu bytes", name, pos, error,
                              error ? 0 : view.length);
        bool same = !memcmp(view.data, found->bytes + pos, view.length);
        pos += view.length;
        tlog_view_release(&view);
        if (!same)
            return model_fail(found->model, "%s: a view and a read differ before pos %" PRIu64, name, pos);
    }
    int stopped = tlog_partition_entries(partition, entry_check, found);
    if (stopped < 0)
        return model_fail(found->model, "%s: reading the entries gave %d", name, stopped);
    if (stopped || !cut_lines(found))
        return false;
    if (bounds.end_seq != found->count)
        return model_fail(found->model, "%s: %zu records and end_seq %" PRIu64, name, found->count, bounds.end_seq);
    return true;
}

static bool find_check(struct found *found, struct tlog_partition *partition)
{
    uint64_t pos, seq;
    int first = tlog_partition_find_time(partition, 0, &pos, &seq);
    if (first || pos != found->start || seq != found->first)
        return model_fail(found->model, "%s: find_time 0 gave %d, pos %" PRIu64 " seq %" PRIu64, label(found->expected),
                          first, pos, seq);
    for (size_t i = found->first; i <= found->count; i += found->count < 8 ? 1 : found->count / 8) {
        uint64_t expected = i < found->count ? found->lines[i].at : found->length;
        int error = tlog_partition_find_seq(partition, i, &pos, &seq);
        if (error || pos != expected || seq != i)
            return model_fail(found->model,
                              "%s: find_seq %zu gave %d, pos %" PRIu64 " seq %" PRIu64 " instead of pos %" PRIu64,
                              label(found->expected), i, error, pos, seq, expected);
        error = tlog_partition_find_pos(partition, expected, &pos, &seq);
        if (error || pos != expected || seq != i)
            return model_fail(found->model,
                              "%s: find_pos %" PRIu64 " gave %d, pos %" PRIu64 " seq %" PRIu64 " instead of seq %zu",
                              label(found->expected), expected, error, pos, seq, i);
    }
    return true;
}

/* A line that a crash may have left as a rest: what is needed of it, and where it was found. */
struct candidate {
    struct model_line *line;
    unsigned needed; /* pieces */
    bool forbidden;
    bool seen;
};

struct candidates {
    struct candidate at[4096];
    size_t count;
};

static void candidate_add(struct candidates *candidates, struct model_line *line, enum model_crash crash, bool optional)
{
    if (!line->piece_count || candidates->count == sizeof candidates->at / sizeof candidates->at[0])
        return;
    unsigned needed = crash == MODEL_KILL ? line->answered : crash == MODEL_CUT ? line->durable : 0;
    candidates->at[candidates->count++] = (struct candidate){.line = line, .needed = optional ? 0 : needed};
}

/* Everything that may stand behind the first `kept` lines. */
static void candidates_fill(struct candidates *candidates, struct model_partition *partition,
                            const struct model_flight *flight, size_t kept, enum model_crash crash)
{
    candidates->count = 0;
    for (size_t i = kept; i < partition->count; i++)
        candidate_add(candidates, partition->lines[i], crash, false);
    for (size_t i = 0; flight && i < flight->count; i++)
        if (partition->count + i >= kept)
            candidate_add(candidates, flight->lines[i], crash, false);
    for (size_t i = 0; i < partition->rest_count; i++) {
        const struct model_rest *rest = partition->rests[i];
        if (flight && (rest == flight->ends || rest == flight->grows))
            continue;
        if (rest->state == MODEL_DROPPED && crash == MODEL_KILL && !rest->loose)
            continue;
        candidate_add(candidates, rest->line, crash, rest->state == MODEL_DROPPED || (flight && rest == flight->drops));
    }
    if (flight && flight->rest && (crash != MODEL_KILL || kept == partition->count + flight->count))
        candidate_add(candidates, flight->rest, crash, false);
}

/* The number of pieces at which the found line stood as a rest of this one; 0: at none. */
static unsigned matches(const struct model_line *line, const char *text, size_t length)
{
    for (unsigned i = 0; i < line->piece_count; i++)
        if (line->pieces[i] + 1 == length && !memcmp(line->text, text, length - 1))
            return i + 1;
    return 0;
}

static const char *shown(const char *text, size_t length)
{
    static _Thread_local char to[64];
    size_t at = 0;
    for (size_t i = 0; i < length && i < 40; i++)
        to[at++] = text[i] >= ' ' && text[i] < 127 ? text[i] : '?';
    to[at] = '\0';
    return to;
}

static bool tail_check(struct found *found, struct candidates *candidates, size_t kept, struct model_line **adopted)
{
    struct model *model = found->model;
    for (size_t i = kept; i < found->count; i++) {
        const char *text = found->bytes + found->lines[i].at;
        size_t length = found->lines[i].length;
        struct candidate *candidate = NULL;
        unsigned pieces = 0;
        for (size_t j = 0; !pieces && j < candidates->count; j++) {
            candidate = &candidates->at[j];
            pieces = matches(candidate->line, text, length);
        }
        if (!pieces)
            return model_fail(model, "%s: line %zu of %zu, \"%s\" (%zu bytes), should not be there",
                              label(found->expected), i, found->count, shown(text, length), length);
        if (candidate->seen)
            return model_fail(model, "%s: the unfinished line \"%s\" is there twice", label(found->expected),
                              shown(text, length));
        if (pieces < candidate->needed)
            return model_fail(model, "%s: of the unfinished line \"%s\" %zu bytes are there, not the %zu promised",
                              label(found->expected), shown(text, length), length - 1,
                              candidate->line->pieces[candidate->needed - 1]);
        candidate->seen = true;
        model->ended++;
        adopted[i] = model_line_new(text, length);
        memcpy(adopted[i]->pieces, candidate->line->pieces, sizeof adopted[i]->pieces);
        adopted[i]->piece_count = adopted[i]->answered = pieces;
        adopted[i]->durable = candidate->line->durable < pieces ? candidate->line->durable : pieces;
    }
    for (size_t j = 0; j < candidates->count; j++)
        if (candidates->at[j].needed && !candidates->at[j].seen)
            return model_fail(model, "%s: the unfinished line \"%s\" is lost, %zu bytes of it were promised",
                              label(found->expected),
                              shown(candidates->at[j].line->text, candidates->at[j].line->length),
                              candidates->at[j].line->pieces[candidates->at[j].needed - 1]);
    return true;
}

/* How many of the found lines are those that were written, in order. */
static size_t common(const struct found *found, const struct model_flight *flight)
{
    const struct model_partition *partition = found->expected;
    size_t count = partition->count + (flight ? flight->count : 0), i = 0;
    for (; i < count && i < found->count; i++) {
        const struct model_line *line =
            i < partition->count ? partition->lines[i] : flight->lines[i - partition->count];
        if (line->length != found->lines[i].length ||
            memcmp(line->text, found->bytes + found->lines[i].at, line->length) != 0)
            break;
    }
    return i;
}

static void partition_adopt(struct model_partition *partition, struct model_flight *flight, const struct found *found,
                            size_t kept, struct model_line **adopted, enum model_crash crash)
{
    for (size_t i = kept; i < partition->count; i++)
        model_line_free(partition->lines[i]);
    size_t own = kept < partition->count ? kept : partition->count;
    partition->count = own;
    partition->end = 0;
    for (size_t i = 0; i < own; i++)
        partition->end += partition->lines[i]->length;
    for (size_t i = own; i < kept; i++) {
        model_partition_add(partition, flight->lines[i - own]);
        flight->lines[i - own] = NULL;
    }
    for (size_t i = kept; i < found->count; i++) {
        model_partition_add(partition, adopted[i]);
        adopted[i] = NULL;
    }
    partition->first = partition->first_most = found->first;
    /* a rest that was dropped is gone after a kill, and may still come back after a power cut */
    for (size_t i = partition->rest_count; i-- > 0;)
        if (crash != MODEL_KILL || partition->rests[i]->state != MODEL_DROPPED)
            model_partition_forget(partition, partition->rests[i], true);
}

/* A copy may have a hole where a trim went on while it was made: that is told. What lies behind it is there. */
static bool copy_has_hole(struct model *model, const struct model_partition *partition, struct tlog_partition *handle)
{
    struct tlog_bounds bounds;
    tlog_partition_bounds(handle, &bounds);
    if (!bounds.damaged || partition->first == partition->first_copied)
        return false;
    uint64_t pos = 0;
    for (size_t i = 0; i < partition->copied; pos += partition->lines[i++]->length) {
        const struct model_line *line = partition->lines[i];
        char *text = malloc(line->length + 1);
        bool same =
            i < partition->first || (tlog_partition_read(handle, pos, text, line->length) == (ssize_t)line->length &&
                                     memcmp(text, line->text, line->length) == 0);
        free(text);
        if (!same)
            model_fail(model, "%s: line %zu is not in a copy with a hole", label(partition), i);
    }
    return true;
}

static bool partition_check(struct model *model, struct model_partition *partition, struct model_flight *flight,
                            struct tlog_partition *handle, enum model_crash crash, bool adopt)
{
    static _Thread_local struct candidates candidates;
    struct found found = {.expected = partition, .model = model};
    size_t needed = crash == MODEL_KILL  ? partition->count
                    : crash == MODEL_CUT ? partition->durable
                                         : partition->copied;
    if (crash == MODEL_COPY && needed <= partition->first) /* trimmed while the copy was made */
        needed = 0;
    struct model_line **adopted = NULL;
    if (handle && crash == MODEL_COPY && copy_has_hole(model, partition, handle))
        return !*model->why;
    bool fine = handle ? found_read(&found, handle, flight, crash) && find_check(&found, handle) : true;
    if (!fine)
        goto out;
    adopted = calloc(found.count + 1, sizeof(struct model_line *));
    size_t kept = common(&found, flight);
    if (kept < needed) {
        const struct model_line *line = partition->lines[kept];
        fine = model_fail(model, "%s: %zu lines of %zu promised are there; then comes \"%s\" instead of \"%s\"%s",
                          label(partition), kept, needed,
                          kept < found.count ? shown(found.bytes + found.lines[kept].at, found.lines[kept].length) : "",
                          line->text, handle ? "" : " (there is no such partition)");
        goto out;
    }
    candidates_fill(&candidates, partition, flight, kept, crash);
    fine = tail_check(&found, &candidates, kept, adopted);
    model->kept += kept;
    model->lost += partition->count > kept ? partition->count - kept : 0;
    if (fine && adopt)
        partition_adopt(partition, flight, &found, kept, adopted, crash);
out:
    for (size_t i = 0; adopted && i < found.count; i++)
        model_line_free(adopted[i]);
    free(adopted);
    free(found.lines);
    free(found.bytes);
    return fine;
}

static bool must_exist(const struct model_topic *topic, const struct model_flight *flight, enum model_crash crash)
{
    if (flight && (flight->creates == topic || flight->removes == topic))
        return false;
    return topic->present && (crash == MODEL_KILL || (crash == MODEL_CUT && !topic->may_vanish));
}

static bool may_exist(const struct model_topic *topic, const struct model_flight *flight, enum model_crash crash)
{
    return topic->present || (flight && flight->creates == topic) || (crash != MODEL_KILL && topic->may_return);
}

static bool name_allowed(const struct model_topic *topic, const char *name, const struct model_flight *flight,
                         enum model_crash crash)
{
    return !strcmp(name, topic->name) || (crash != MODEL_KILL && !strcmp(name, topic->old_name)) ||
           (flight && flight->renames == topic && !strcmp(name, flight->new_name));
}

/* Whether the call under way makes the partition: the one it was asked for, or a missing one below it. */
static bool adds(const struct model_flight *flight, const struct model_partition *partition)
{
    return flight->adds && flight->adds->topic == partition->topic && partition <= flight->adds;
}

static bool topic_check(struct model *model, struct model_topic *topic, struct model_flight *flight,
                        struct tlog_topic *handle, enum model_crash crash, bool adopt)
{
    char name[256];
    tlog_topic_name(handle, name);
    if (!may_exist(topic, flight, crash))
        return model_fail(model, "%s: the topic should not be there", name);
    if (!name_allowed(topic, name, flight, crash))
        return model_fail(model, "%s: the topic should be called %s", name, topic->name);
    int64_t quota = tlog_topic_value(handle, TLOG_QUOTA_BYTES);
    if (crash != MODEL_COPY && quota != topic->quota && quota != topic->other_quota &&
        !(flight && flight->configures == topic && quota == flight->new_quota) && !(flight && flight->creates == topic))
        return model_fail(model, "%s: quota.bytes is %" PRId64 ", not %" PRId64, name, quota, topic->quota);
    for (unsigned i = 0; i < MODEL_PARTITIONS; i++) {
        struct model_partition *partition = &topic->partitions[i];
        struct tlog_partition *found = tlog_partition_get(handle, i);
        bool concerned = flight && (flight->partition == partition || flight->trims == partition || flight->maintains);
        struct model_flight *own = concerned ? flight : NULL;
        bool fine = true;
        if (!found && partition->present && crash == MODEL_KILL && must_exist(topic, flight, crash))
            fine = model_fail(model, "%s/%u: the partition is lost", name, i);
        if (found && !partition->present && topic->present && !(crash != MODEL_KILL && partition->may_return) &&
            !(flight && (adds(flight, partition) || flight->creates == topic)))
            fine = model_fail(model, "%s/%u: the partition should not be there", name, i);
        fine = fine && partition_check(model, partition, own, found, crash, adopt);
        if (fine && adopt)
            partition->present = found;
        if (adopt && crash != MODEL_KILL)
            partition->may_return = false;
        tlog_partition_unref(found);
        if (!fine)
            return false;
    }
    if (adopt) {
        topic->quota = quota;
        topic->other_quota = 0;
        topic->present = true;
        memcpy(topic->id, tlog_topic_id(handle), sizeof topic->id);
        memcpy(topic->name, name, sizeof name);
    }
    return true;
}

static struct model_topic *topic_of(struct model *model, const struct model_flight *flight, struct tlog_topic *handle)
{
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        if (model->topics[i].used && !(flight && flight->creates == &model->topics[i]) &&
            !memcmp(model->topics[i].id, tlog_topic_id(handle), 16))
            return &model->topics[i];
    if (flight && flight->creates)
        return flight->creates;
    /* one whose making failed has no id that anybody was told */
    static const uint8_t none[16];
    char name[256];
    tlog_topic_name(handle, name);
    for (size_t i = 0; i < MODEL_TOPICS; i++)
        if (model->topics[i].used && model->topics[i].may_return && !memcmp(model->topics[i].id, none, 16) &&
            !strcmp(model->topics[i].name, name))
            return &model->topics[i];
    return NULL;
}

/* A topic that is not there any more. */
static void topic_vanished(struct model_topic *topic)
{
    for (size_t i = 0; i < MODEL_PARTITIONS; i++) {
        struct model_partition *partition = &topic->partitions[i];
        for (size_t j = 0; j < partition->count; j++)
            model_line_free(partition->lines[j]);
        while (partition->rest_count)
            model_partition_forget(partition, partition->rests[0], true);
        partition->count = partition->durable = partition->copied = 0;
        partition->first = partition->first_most = partition->first_copied = 0;
        partition->end = 0;
        partition->present = false;
    }
    topic->present = false;
}

bool model_check(struct model *model, struct model_flight *flight, struct tlog_store *store, enum model_crash crash,
                 bool adopt)
{
    struct tlog_topic **topics;
    size_t count;
    bool seen[MODEL_TOPICS] = {false};
    int error = tlog_store_topics(store, &topics, &count);
    if (error)
        return model_fail(model, "the topics cannot be listed: %d", error);
    bool fine = true;
    for (size_t i = 0; fine && i < count; i++) {
        struct model_topic *topic = topic_of(model, flight, topics[i]);
        char name[256];
        tlog_topic_name(topics[i], name);
        if (!topic || seen[topic - model->topics])
            fine = model_fail(model, "%s: the topic is %s", name, topic ? "there twice" : "unknown");
        else
            fine = topic_check(model, topic, flight, topics[i], crash, adopt);
        if (topic)
            seen[topic - model->topics] = true;
    }
    tlog_topics_free(topics, count);
    for (size_t i = 0; fine && i < MODEL_TOPICS; i++) {
        struct model_topic *topic = &model->topics[i];
        if (!topic->used)
            continue;
        if (!seen[i] && must_exist(topic, flight, crash))
            fine = model_fail(model, "%s: the topic is lost", topic->name);
        if (adopt && !seen[i])
            topic_vanished(topic);
        if (adopt && crash != MODEL_KILL) { /* what a power cut left is durable */
            topic->may_vanish = topic->may_return = false;
            topic->old_name[0] = '\0';
        }
    }
    model->checks++;
    return fine;
}

bool model_check_live(struct model *model, struct model_partition *partition)
{
    struct found found = {.expected = partition, .model = model};
    bool fine = true;
    struct tlog_bounds bounds;
    tlog_partition_bounds(partition->handle, &bounds);
    found.length = bounds.end;
    found.bytes = malloc(bounds.end + 1);
    if (!model_partition_start(model, partition, bounds.start)) {
        free(found.bytes);
        return false;
    }
    found.first = partition->first;
    found_fill(&found);
    char *to = found.bytes + bounds.start;
    ssize_t wanted = (ssize_t)(bounds.end - bounds.start);
    ssize_t length = tlog_partition_read(partition->handle, bounds.start, to, (size_t)wanted + 1);
    if (model->faulty && length != wanted) /* a disk that fails once */
        length = tlog_partition_read(partition->handle, bounds.start, to, (size_t)wanted + 1);
    length += length < 0 ? 0 : (ssize_t)bounds.start;
    if (length != (ssize_t)partition->end || bounds.end != partition->end || bounds.end_seq != partition->count)
        fine = model_fail(
            model, "%s: %zd bytes are read, end %" PRIu64 ", end_seq %" PRIu64 "; written were %" PRIu64 " in %zu",
            label(partition), length, bounds.end, bounds.end_seq, partition->end, partition->count);
    for (size_t i = 0, at = 0; fine && i < partition->count; at += partition->lines[i++]->length)
        if (memcmp(found.bytes + at, partition->lines[i]->text, partition->lines[i]->length) != 0)
            fine = model_fail(model, "%s: at pos %zu \"%s\" is read, not \"%s\"", label(partition), at,
                              shown(found.bytes + at, partition->lines[i]->length), partition->lines[i]->text);
    free(found.bytes);
    free(found.lines);
    return fine;
}
