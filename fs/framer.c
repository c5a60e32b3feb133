#include "framer.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

/* Counted in blocks that the compiler turns into vector compares: bytes are summed per lane, at most 255 times. */
static uint32_t count_newlines(const char *data, size_t bytes)
{
    enum { LANES = 32, ROUNDS = 255 };
    uint32_t total = 0;

    while (bytes >= LANES) {
        uint8_t lanes[LANES] = {0};
        size_t rounds = bytes / LANES < ROUNDS ? bytes / LANES : ROUNDS;

        for (size_t round = 0; round < rounds; round++, data += LANES)
            for (int lane = 0; lane < LANES; lane++)
                lanes[lane] = (uint8_t)(lanes[lane] + (data[lane] == '\n'));
        for (int lane = 0; lane < LANES; lane++)
            total += lanes[lane];
        bytes -= rounds * LANES;
    }
    while (bytes-- > 0)
        total += *data++ == '\n';
    return total;
}

/* The start of the first line in `data` that is over the limit, or `bytes` when none is. Instead of looking at each
 * line: as long as every stretch of max_bytes from a line's start holds a newline, no line is too long. */
static size_t find_too_long(const char *data, size_t bytes, size_t held_bytes, size_t max_bytes)
{
    size_t start = 0;
    size_t room = held_bytes < max_bytes ? max_bytes - held_bytes : 0;

    while (bytes - start >= room) {
        const char *newline = room > 0 ? memrchr(data + start, '\n', room) : NULL;

        if (newline == NULL)
            return start;
        start = (size_t)(newline - data) + 1;
        room = max_bytes;
    }
    return bytes;
}

static struct tfs_frame refuse(struct tfs_framer *framer, const char *data, size_t bytes, bool begun_before)
{
    bool ends = memchr(data, '\n', bytes) != NULL;

    framer->dropping = !ends;
    framer->untold = framer->after_piece;
    framer->repeatable = ends && begun_before;
    if (framer->repeatable) {
        framer->refused_bytes = bytes;
        framer->refused_print = XXH3_64bits(data, bytes);
    }
    return (struct tfs_frame){.error = -EMSGSIZE};
}

/* How many bytes at the front belong to a line that was refused before. */
static size_t rest_of_refused(const struct tfs_framer *framer, const char *data, size_t bytes, bool repeated)
{
    if (!framer->dropping && !repeated)
        return 0;

    const char *newline = memchr(data, '\n', bytes);
    return newline != NULL ? (size_t)(newline - data) + 1 : bytes;
}

struct tfs_frame tfs_framer_lines(struct tfs_framer *framer, const char *data, size_t bytes, size_t held_bytes,
                                  size_t max_bytes)
{
    struct tfs_frame frame = {0};
    bool repeated =
        framer->repeatable && framer->refused_bytes == bytes && framer->refused_print == XXH3_64bits(data, bytes);

    if (framer->untold) {
        framer->untold = false;
        if (framer->dropping)
            return refuse(framer, data, bytes, true);
        if (repeated)
            return (struct tfs_frame){.error = -EMSGSIZE};
    }

    frame.skip = rest_of_refused(framer, data, bytes, repeated);
    if (frame.skip > 0)
        framer->dropping = framer->dropping && data[frame.skip - 1] != '\n';
    framer->repeatable = false;
    data += frame.skip;
    bytes -= frame.skip;

    frame.length = held_bytes + bytes < max_bytes ? bytes : find_too_long(data, bytes, held_bytes, max_bytes);
    if (frame.length == 0 && bytes > 0 && frame.skip == 0) {
        frame = refuse(framer, data, bytes, held_bytes > 0);
        frame.forget = held_bytes > 0;
        return frame;
    }

    /* Up to a line that is too long, all are whole; the caller comes back with that one first. */
    const char *newline = memrchr(data, '\n', frame.length);
    frame.whole = newline != NULL ? (size_t)(newline - data) + 1 : 0;
    frame.records = count_newlines(data, frame.whole);
    return frame;
}

struct tfs_frame tfs_framer_raw(size_t bytes, size_t max_bytes)
{
    if (bytes > max_bytes || bytes > TFS_REQUEST_BYTES)
        return (struct tfs_frame){.error = -EMSGSIZE};
    return (struct tfs_frame){.length = bytes, .whole = bytes, .records = 1};
}

void tfs_framer_done(struct tfs_framer *framer, size_t bytes, int64_t taken)
{
    framer->after_piece = bytes >= TFS_REQUEST_BYTES && taken == (int64_t)bytes;
}
