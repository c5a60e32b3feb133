#include "check.h"

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stream.h"

/* A writer that was killed in the middle of a line leaves a fragment: a line of its own, which begins like the
 * writer's next. */
struct fragment {
    size_t at, length; /* without the newline */
    bool owned;
};

struct seen {
    uint32_t next;  /* number of the line expected next */
    uint64_t bytes; /* in whole lines */
    size_t last;    /* where its last whole line began */
    bool fragment;
};

struct check {
    const char *data;
    struct seen *writers;
    struct fragment *fragments;
    size_t fragment_count, lines;
    char *expected; /* room for one line */
};

struct ack *ack_map(const char *path, bool writable)
{
    if (path == NULL)
        return NULL;
    size_t bytes = STREAM_WRITERS * sizeof(struct ack);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        err(111, "%s", path);
    void *map = mmap(NULL, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        err(111, "%s: mmap", path);
    close(fd);
    return map;
}

static bool complain(const struct check *check, size_t at, size_t length, const char *what)
{
    fprintf(stderr, "byte %zu: a line of %zu bytes %s: '%.*s'\n", at, length, what, (int)(length < 60 ? length : 60),
            check->data + at);
    return false;
}

/* A line of some writer that is complete and expected now counts; any other may be a fragment. */
static bool take_line(struct check *check, size_t at, size_t length)
{
    unsigned writer;
    uint32_t number;
    size_t payload;
    const char *line = check->data + at;
    if (memchr(line, '\0', length) != NULL)
        return complain(check, at, length, "holds a NUL");
    if (stream_head(line, length, &writer, &number, &payload) && length == STREAM_HEAD_BYTES + payload) {
        struct seen *seen = &check->writers[writer];
        size_t bytes = stream_line(check->expected, writer, number, payload);
        if (memcmp(check->expected, line, bytes) != 0)
            return complain(check, at, length, "was changed");
        if (number != seen->next)
            return complain(check, at, length, number < seen->next ? "is there again" : "comes too early");
        seen->next++;
        seen->bytes += bytes;
        seen->last = at;
        check->lines++;
        return true;
    }
    if (check->fragment_count % 1024 == 0) {
        size_t room = (check->fragment_count + 1024) * sizeof *check->fragments;
        check->fragments = realloc(check->fragments, room);
        if (check->fragments == NULL)
            err(111, "fragments");
    }
    check->fragments[check->fragment_count++] = (struct fragment){.at = at, .length = length};
    return true;
}

/* Finds the fragment that a writer has left: of its next line, from `least` to `most` bytes. */
static bool take_fragment(struct check *check, unsigned writer, uint64_t least, uint64_t most, size_t payload_max)
{
    struct seen *seen = &check->writers[writer];
    stream_line(check->expected, writer, seen->next, stream_payload(writer, seen->next, payload_max));
    for (size_t i = 0; i < check->fragment_count; i++) {
        struct fragment *fragment = &check->fragments[i];
        if (fragment->owned || fragment->length < least || fragment->length > most ||
            (seen->bytes > 0 && fragment->at < seen->last) ||
            memcmp(check->expected, check->data + fragment->at, fragment->length) != 0)
            continue;
        fragment->owned = seen->fragment = true;
        return true;
    }
    return false;
}

/* Writers that must have left a fragment choose first, and exact ones among them: a very short fragment begins the
 * lines of many. */
enum turn { EXACT, AT_LEAST, PERHAPS };

static bool judge_writer(struct check *check, unsigned writer, const struct ack *ack, enum turn turn)
{
    const struct seen *seen = &check->writers[writer];
    uint64_t accepted = ack->accepted, asked = ack->asked;
    if (seen->bytes > asked && seen->bytes > accepted) {
        fprintf(stderr, "writer %u: %" PRIu64 " bytes are there, only %" PRIu64 " were written\n", writer, seen->bytes,
                asked);
        return false;
    }
    uint64_t needed = accepted > seen->bytes ? accepted - seen->bytes : 0;
    uint64_t most = asked > seen->bytes ? asked - seen->bytes : needed;
    if (seen->fragment || (turn == PERHAPS) != (needed == 0) || most == 0)
        return true;
    if (take_fragment(check, writer, needed > 0 ? needed : 1, turn == EXACT ? needed : most, ack->payload_max))
        return true;
    if (turn != AT_LEAST)
        return true;
    fprintf(stderr, "writer %u: %" PRIu64 " bytes were accepted, whole lines hold %" PRIu64 ", the rest is nowhere\n",
            writer, accepted, seen->bytes);
    return false;
}

static bool judge(struct check *check, const struct ack *acks)
{
    unsigned writers = 0;
    for (enum turn turn = EXACT; turn <= PERHAPS; turn++)
        for (unsigned writer = 0; writer < STREAM_WRITERS; writer++)
            if ((acks[writer].asked > 0 || check->writers[writer].next > 0) &&
                !judge_writer(check, writer, &acks[writer], turn))
                return false;
    for (unsigned writer = 0; writer < STREAM_WRITERS; writer++)
        writers += acks[writer].asked > 0 || check->writers[writer].next > 0;
    for (size_t i = 0; i < check->fragment_count; i++)
        if (!check->fragments[i].owned)
            return complain(check, check->fragments[i].at, check->fragments[i].length, "is nobody's");
    printf("lines %zu writers %u fragments %zu\n", check->lines, writers, check->fragment_count);
    return true;
}

bool check_log(const char *data, size_t length, const struct ack *acks)
{
    struct check check = {
        .data = data,
        .writers = calloc(STREAM_WRITERS, sizeof *check.writers),
        .expected = malloc(STREAM_LINE_MAX),
    };
    if (check.writers == NULL || check.expected == NULL)
        err(111, "memory");
    bool good = true;
    for (size_t at = 0; good && at < length;) {
        const char *newline = memchr(data + at, '\n', length - at);
        if (newline == NULL) {
            good = complain(&check, at, length - at, "has no end");
            break;
        }
        size_t bytes = (size_t)(newline - data) - at;
        good = take_line(&check, at, bytes);
        at += bytes + 1;
    }
    if (good && acks != NULL)
        good = judge(&check, acks);
    else if (good)
        printf("lines %zu fragments %zu\n", check.lines, check.fragment_count);
    free(check.fragments);
    free(check.expected);
    free(check.writers);
    return good;
}
