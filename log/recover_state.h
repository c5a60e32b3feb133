/* One partition while it is recovered: shared by the recover_*.c files and nobody else. All of it happens with
 * the partition's lock, before the store is in service. */
#ifndef TLOG_RECOVER_STATE_H
#define TLOG_RECOVER_STATE_H

#include "log/recover.h"

struct tlog_recovering {
    struct tlog_recover *recover; /* NULL when only looking */
    struct tlog_partition *p;
    const struct tlog_io *io;
    char dir[TLOG_NAME_BYTES];
    bool failed_marker, raw, changed, copied;
    bool restored;        /* it has an `origin`: it was in the trash, or was to go there */
    struct tlog_point at; /* where the log ends, as found so far */
    uint64_t start;       /* what lies below was trimmed; 0: nothing is known of a trim */
    unsigned segment;     /* the one that it stands in */
    uint64_t idx_bytes;   /* of its index */
    bool index_tail;      /* the last index was good to its end: in the same boot, whole lines past it count */
    uint64_t known_below; /* up to here the segments are those that the checkpoint knows: none is missing */
};

/* Tells "TOPIC/N: BEFORE number AFTER". */
void tlog_recover_note(struct tlog_recovering *s, const char *before, uint64_t number, const char *after);
/* The files of the segment at `pos`: "….log", "….idx". */
void tlog_recover_file_name(struct tlog_recovering *s, uint64_t pos, const char *suffix, char to[TLOG_NAME_BYTES]);
uint64_t tlog_recover_size_of(struct tlog_recovering *s, uint64_t pos, const char *suffix);
/* 1: it is there; 0: it is not; or -errno. A disk that does not answer is no reason to believe a file gone. */
int tlog_recover_stat(struct tlog_recovering *s, uint64_t pos, const char *suffix, struct tlog_io_stat *out);
bool tlog_recover_has_file(struct tlog_recovering *s, uint64_t pos, const char *suffix);
void tlog_recover_close_segment(struct tlog_recovering *s, unsigned i);
/* tlog_scan_open on segment i, which has raw files; learns its first seq. */
int tlog_recover_open_scan(struct tlog_recovering *s, unsigned i, struct tlog_scan *scan, struct tlog_error *error);

/* recover_list.c. Adds the segments that the directory holds, and removes what was not made to its end. */
int tlog_recover_list(struct tlog_recovering *s);
/* Counts what the files of all segments but the active one take on disk. */
int tlog_recover_count_disk(struct tlog_recovering *s);

/* recover_sealed.c. What stands at the two ends of a sealed file; either may be NULL. -EBADMSG with a sentence: it is not
 * whole. */
int tlog_recover_sealed(struct tlog_recovering *s, uint64_t pos, struct tlog_point *first, struct tlog_point *end,
                        struct tlog_error *error);
/* Removes what is there of a segment's raw files. */
int tlog_recover_remove_raw(struct tlog_recovering *s, uint64_t pos);
/* Looks at the sealed files that the checkpoint does not vouch for: of one that is not whole the raw files count, if they
 * are there; else it is damage. */
int tlog_recover_check_sealed(struct tlog_recovering *s);
/* The number of the segment after the last sealed one; 0: none is sealed. */
unsigned tlog_recover_sealed_count(const struct tlog_recovering *s);
/* Holes cannot be repaired here: they are told, and nothing is added behind them. */
int tlog_recover_find_holes(struct tlog_recovering *s);
/* The log ends with a sealed segment: nothing is added to that, a new active one is made. */
int tlog_recover_follow_sealed(struct tlog_recovering *s);

/* No segment is there: the first is made, and stood in. What it held may be in the journal, which needs no names of
 * files. */
int tlog_recover_make_empty(struct tlog_recovering *s);

/* recover_start.c. Learns where the log starts, and removes what an interrupted trim left below. */
int tlog_recover_start(struct tlog_recovering *s, const struct tlog_checkpoint_row *row, bool replaced);
/* The same of a partition that is only looked at: forgets what lies below, and leaves it there. */
void tlog_recover_look_start(struct tlog_recover *recover, struct tlog_partition *p,
                             const struct tlog_checkpoint_row *row);

/* recover_locate.c. Sets `at`, or marks the partition as damaged. */
int tlog_recover_locate(struct tlog_recovering *s, const struct tlog_checkpoint_row *row, bool trusted);
/* The same boot: the last entry is looked at, the rest believed. -EBADMSG: not to be believed after all. */
int tlog_recover_trust(struct tlog_recovering *s);
/* 1 when the last segment's files are those that this boot has written, else 0; or -errno. */
int tlog_recover_known_files(struct tlog_recovering *s, const struct tlog_checkpoint_row *row);
/* 1 when the checkpoint speaks of other files (somebody put a copy in their place), else 0; or -errno. */
int tlog_recover_replaced(struct tlog_recovering *s, const struct tlog_checkpoint_row *row);
/* Where the log stands after segment i, by that segment's own index. -EBADMSG, -ENOENT: it has none that can be read. */
int tlog_recover_end_of(struct tlog_recovering *s, unsigned i, struct tlog_point *end);

/* recover_index.c. Indexes the whole lines of segment i past `at` and before `limit`. */
int tlog_recover_index_lines(struct tlog_recovering *s, unsigned i, uint64_t limit);
/* The index of segment i is gone, its bytes are there: its lines before `limit` are indexed anew, under a new
 * epoch. */
int tlog_recover_index_anew(struct tlog_recovering *s, unsigned i, uint64_t limit);

/* recover_replay.c. Puts in the appends that the journal holds past `at`. */
int tlog_recover_replay(struct tlog_recovering *s);

/* recover_cut.c. Takes segments `from` and later out of the log, and keeps their bytes. */
int tlog_recover_drop_segments(struct tlog_recovering *s, unsigned from);
/* Cuts the active segment's files to what counts, and keeps the bytes. */
int tlog_recover_cut(struct tlog_recovering *s);
/* After a failed fsync: writes what was not known durable into fresh files. */
int tlog_recover_rewrite(struct tlog_recovering *s, uint64_t synced);

#endif
