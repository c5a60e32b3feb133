/* Recovery of one partition: what its directory holds, the segments in each of their forms and what a crash left of
 * work that was not done to its end. */
#include "log/recover_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOG = 1, IDX = 2, ZST = 4 };

struct found {
    struct found_segment {
        uint64_t pos;
        unsigned files;
    } * segments;
    size_t count, room;
    char **unfinished; /* names of files that were to be renamed once they were whole */
    size_t unfinished_count;
    bool failed_marker, origin;
};

static int add_unfinished(struct found *found, const char *name)
{
    char **grown = realloc(found->unfinished, (found->unfinished_count + 1) * sizeof *grown);
    if (!grown)
        return -ENOMEM;
    found->unfinished = grown;
    grown[found->unfinished_count] = strdup(name);
    return grown[found->unfinished_count++] ? 0 : -ENOMEM;
}

static int add_name(void *arg, const char *name)
{
    struct found *found = arg;
    char *end;
    size_t length = strlen(name);
    uint64_t pos = strtoull(name, &end, 10);
    if (strcmp(name, "failed") == 0)
        found->failed_marker = true;
    if (strcmp(name, "origin") == 0)
        found->origin = true;
    if (length > 4 && strcmp(name + length - 4, ".new") == 0)
        return add_unfinished(found, name);
    unsigned file = strcmp(end, ".log") == 0   ? LOG
                    : strcmp(end, ".idx") == 0 ? IDX
                    : strcmp(end, ".zst") == 0 ? ZST
                                               : 0;
    if (end != name + 20 || file == 0)
        return 0;
    if (found->count == found->room) {
        found->room = found->room ? 2 * found->room : 8;
        struct found_segment *grown = realloc(found->segments, found->room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        found->segments = grown;
    }
    found->segments[found->count++] = (struct found_segment){pos, file};
    return 0;
}

static int by_position(const void *a, const void *b)
{
    uint64_t left = ((const struct found_segment *)a)->pos, right = ((const struct found_segment *)b)->pos;
    return (left > right) - (left < right);
}

/* One for each position, with all its files. */
static void merge(struct found *found)
{
    size_t kept = 0;
    if (found->count > 0)
        qsort(found->segments, found->count, sizeof *found->segments, by_position);
    for (size_t i = 0; i < found->count; i++) {
        if (kept > 0 && found->segments[kept - 1].pos == found->segments[i].pos)
            found->segments[kept - 1].files |= found->segments[i].files;
        else
            found->segments[kept++] = found->segments[i];
    }
    found->count = kept;
}

static int remove_unfinished(struct tlog_recovering *s, const struct found *found)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < found->unfinished_count; i++) {
        char path[TLOG_NAME_BYTES];
        if (snprintf(path, sizeof path, "%s/%s", s->dir, found->unfinished[i]) < (int)sizeof path)
            r = s->io->unlink(s->io, path);
        if (r == -ENOENT)
            r = 0;
    }
    return r;
}

/* Half of the raw files beside a sealed one: a removal that a crash cut short, or a copy that met one under way. When
 * the sealed file is whole it counts, and the rest is removed. */
static int settle_half(struct tlog_recovering *s, const struct found_segment *found, unsigned *forms)
{
    struct tlog_error error = {0};
    *forms = TLOG_SEALED;
    if (!s->recover)
        return 0;
    int r = tlog_recover_sealed(s, found->pos, NULL, NULL, &error);
    if (r == -EBADMSG) { /* to be looked at with the others */
        *forms = TLOG_SEALED | TLOG_RAW;
        return 0;
    }
    return r < 0 ? r : tlog_recover_remove_raw(s, found->pos);
}

static int add_segment(struct tlog_recovering *s, const struct found_segment *found)
{
    unsigned raw = found->files & (LOG | IDX), forms = raw ? TLOG_RAW : 0;
    if (found->files & ZST)
        forms |= TLOG_SEALED;
    int r = 0;
    if ((found->files & ZST) && raw != 0 && raw != (LOG | IDX))
        r = settle_half(s, found, &forms);
    return r < 0 ? r : tlog_segment_add(s->p, found->pos, 0, forms);
}

/* In a copy, an index alone before all others is what a trim under way left; elsewhere the start is known. */
static int pass_trimmed(struct tlog_recovering *s, struct found *found)
{
    int r = 0;
    while (r == 0 && s->copied && found->count > 1 && found->segments[0].files == IDX) {
        if (s->recover)
            r = tlog_recover_remove_raw(s, found->segments[0].pos);
        memmove(found->segments, found->segments + 1, --found->count * sizeof *found->segments);
    }
    return r;
}

int tlog_recover_list(struct tlog_recovering *s)
{
    struct found found = {0};
    int r = s->io->list(s->io, s->dir, add_name, &found);
    merge(&found);
    if (r == 0 && s->recover)
        r = remove_unfinished(s, &found);
    if (r == 0)
        r = pass_trimmed(s, &found);
    for (size_t i = 0; r == 0 && i < found.count; i++)
        r = add_segment(s, &found.segments[i]);
    for (size_t i = 0; i < found.unfinished_count; i++)
        free(found.unfinished[i]);
    free(found.unfinished);
    free(found.segments);
    s->failed_marker = found.failed_marker;
    s->restored = found.origin;
    return r;
}

void tlog_recover_file_name(struct tlog_recovering *s, uint64_t pos, const char *suffix, char to[TLOG_NAME_BYTES])
{
    char path[TLOG_NAME_BYTES];
    tlog_segment_path(s->p, pos, path);
    if (snprintf(to, TLOG_NAME_BYTES, "%s%s", path, suffix) >= TLOG_NAME_BYTES)
        to[TLOG_NAME_BYTES - 1] = 0;
}

uint64_t tlog_recover_size_of(struct tlog_recovering *s, uint64_t pos, const char *suffix)
{
    struct tlog_io_stat st;
    return tlog_recover_stat(s, pos, suffix, &st) > 0 ? st.size_bytes : 0;
}

int tlog_recover_stat(struct tlog_recovering *s, uint64_t pos, const char *suffix, struct tlog_io_stat *out)
{
    char path[TLOG_NAME_BYTES];
    tlog_recover_file_name(s, pos, suffix, path);
    int r = s->io->stat_path(s->io, path, out);
    return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

bool tlog_recover_has_file(struct tlog_recovering *s, uint64_t pos, const char *suffix)
{
    struct tlog_io_stat st;
    return tlog_recover_stat(s, pos, suffix, &st) > 0;
}

static int count_form(struct tlog_recovering *s, unsigned i, unsigned form)
{
    struct tlog_io_stat st, idx;
    uint64_t pos = s->p->segments[i].pos;
    int r = tlog_recover_stat(s, pos, form == TLOG_RAW ? ".log" : ".zst", &st);
    if (r > 0 && form == TLOG_RAW && tlog_recover_stat(s, pos, ".idx", &idx) > 0)
        st.disk_bytes += idx.disk_bytes;
    if (r > 0)
        tlog_segment_form(s->p, i, form, &st);
    return r < 0 ? r : 0;
}

int tlog_recover_count_disk(struct tlog_recovering *s)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < s->p->segment_count; i++) {
        unsigned forms = s->p->segments[i].forms;
        bool active = i + 1 == s->p->segment_count && !(forms & TLOG_SEALED);
        if (!active && (forms & TLOG_RAW))
            r = count_form(s, i, TLOG_RAW);
        if (r == 0 && (forms & TLOG_SEALED))
            r = count_form(s, i, TLOG_SEALED);
    }
    return r;
}
