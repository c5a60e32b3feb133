/* Where lines end: decides, for each write on an open file description, what of it is whole lines to append, what
 * is an unfinished rest to hold, and what belongs to a line over max.message.bytes. Pure: no I/O, no FUSE, no lock;
 * the bytes held are the log library's (struct tlog_writer), here is only what must be remembered about refusals.
 *
 * A line counts with its newline. One that outgrows the limit is refused once (EMSGSIZE, or a short count when whole
 * lines stand before it in the same write); what was held of it is forgotten, and what follows, up to its newline,
 * counts as written and is dropped, so that a line is in the log whole or not at all. Three cases need care:
 *
 * - The refused write holds the line's newline. Nothing of that write was taken, so the next write begins a line.
 *   But a caller that repeats the very same write would then bring the tail of a line whose head, taken by an
 *   earlier write, was forgotten. The repeat is recognised by length and fingerprint.
 * - The kernel cuts a write(2) over 1,044,480 bytes into several requests and, when a later one fails, tells its
 *   caller only the count of those before. So an EMSGSIZE just after a large request that succeeded may never have
 *   been told; it is given once more on the next request that goes on with the same line.
 * - In raw format a request is a record. The first piece of a write(2) that the kernel cuts is larger than
 *   1,044,480 bytes, so refusing those refuses all that are cut, before anything was appended. */
#ifndef TFS_FRAMER_H
#define TFS_FRAMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest write(2) that the kernel always hands over as one request: 255 pages. */
#define TFS_REQUEST_BYTES 1044480u

/* All zero at first; one per open file description. */
struct tfs_framer {
    bool dropping;    /* bytes up to the next newline belong to a refused line */
    bool untold;      /* the refusal may not have reached the caller */
    bool repeatable;  /* refused_* describe a refused write that ended a line begun before it */
    bool after_piece; /* the request before succeeded and may have been a piece of a larger write(2) */
    size_t refused_bytes;
    uint64_t refused_print;
};

/* What to do with one write. */
struct tfs_frame {
    int error;        /* 0, or -EMSGSIZE: nothing of this write is taken, the fields below are 0 */
    bool forget;      /* drop what is held: its line is refused */
    size_t skip;      /* so many leading bytes count as written and are dropped */
    size_t length;    /* so many after those are taken, */
    size_t whole;     /* the first so many of them as whole lines, the others held; */
    uint32_t records; /* this many lines */
};

/* Frames `data` for a description that holds `held_bytes` of an unfinished line. The count for the caller is skip
 * plus what tlog_writer_append took of `length`. */
struct tfs_frame tfs_framer_lines(struct tfs_framer *framer, const char *data, size_t bytes, size_t held_bytes,
                                  size_t max_bytes);
/* One write, one record. */
struct tfs_frame tfs_framer_raw(size_t bytes, size_t max_bytes);
/* To be told each write's outcome: of `bytes` asked, `taken` (or -errno). */
void tfs_framer_done(struct tfs_framer *framer, size_t bytes, int64_t taken);

#endif
