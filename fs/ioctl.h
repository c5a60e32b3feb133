/* The ioctls of a topicfs mount: what programs may ask beyond files. Documented in topicfs(1).
 *
 * Numbers are those of a 64-bit or 32-bit caller alike: every field is of fixed size and naturally aligned. */
#ifndef TFS_IOCTL_H
#define TFS_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

/* On a topic's directory: deletes a partition of it, or the whole topic, records and all; it goes to the store's
 * trash, whatever delete.enable says. Wants write permission on the topic's directory. EACCES or EPERM without;
 * ENOENT no such partition; EROFS. */
struct tfs_ioctl_delete {
    int32_t partition; /* -1: the whole topic */
};
#define TFS_IOC_DELETE _IOW('t', 1, struct tfs_ioctl_delete)

/* On an open partition file (any mode that allows reading): finds a record. Past the last one both results are
 * the partition's end. pos is logical: the offset in this open file is pos less its user.topicfs.base. EINVAL for
 * another kind or a negative seq or pos; EBADF if opened write-only; EIO, EBADMSG when the log cannot be read. */
struct tfs_ioctl_find {
    uint32_t kind; /* enum tfs_find */
    uint32_t zero; /* to be 0, else EINVAL */
    int64_t value; /* in the kind's unit */
    uint64_t pos;  /* out: logical position of the record's first byte */
    uint64_t seq;  /* out: its number */
};
enum tfs_find {
    TFS_FIND_SEQ = 0,  /* the record of that number, or the oldest kept one after it */
    TFS_FIND_POS = 1,  /* the first that begins at or after that logical position */
    TFS_FIND_TIME = 2, /* the first appended at or after that time, in nanoseconds of CLOCK_REALTIME, to the
                          precision of an index entry: perhaps a few records earlier, never later */
};
#define TFS_IOC_FIND _IOWR('t', 2, struct tfs_ioctl_find)

/* On a topic's directory: trims the head of a partition (Kafka's delete-records). Whole segments before `pos` go; at the
 * end, all of them. Wants write permission on the topic's directory. EACCES; ENOENT no such partition; EINVAL past the
 * end; ENOSPC, EROFS. */
struct tfs_ioctl_trim {
    int32_t partition;
    uint32_t zero;  /* to be 0, else EINVAL */
    uint64_t pos;   /* logical; UINT64_MAX: the end, whatever it is by then */
    uint64_t start; /* out: the new start, at or before pos */
};
#define TFS_IOC_TRIM _IOWR('t', 3, struct tfs_ioctl_trim)

/* On the mount's root directory: puts an item of the trash (a name in .trash) back where it was, or removes it for
 * good. Both want write permission on the root directory. EACCES; ENOENT no such item; EEXIST a topic or partition of
 * that name is there; EBADMSG its topic was made anew since; EROFS. */
struct tfs_ioctl_trash {
    char item[512]; /* ends in NUL */
};
#define TFS_IOC_RESTORE _IOW('t', 4, struct tfs_ioctl_trash)
#define TFS_IOC_DISCARD _IOW('t', 5, struct tfs_ioctl_trash)

#endif
