/* The io seam: every file and clock system call of log/, behind one table of functions.
 *
 * io_posix.c implements it on Linux; tests/sim implements it in memory and loses, tears and refuses
 * operations. Paths are absolute or relative to the working directory, as for open(2). File descriptors are
 * small non-negative numbers that only the same implementation understands.
 *
 * Every call returns 0 (or a count, or a descriptor) or -errno, never sets errno, and may be called from any
 * thread. A call that a signal interrupts is restarted inside. */
#ifndef TLOG_IO_H
#define TLOG_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum tlog_io_flags {
    TLOG_IO_READ = 0,     /* read only */
    TLOG_IO_WRITE = 1,    /* read and write */
    TLOG_IO_CREATE = 2,   /* create it when missing, mode 0600 less the umask */
    TLOG_IO_EXCL = 4,     /* with CREATE: -EEXIST when it is there */
    TLOG_IO_TRUNCATE = 8, /* to length 0 */
};

struct tlog_io_stat {
    uint64_t size_bytes;
    uint64_t disk_bytes; /* allocated, what du counts */
    uint64_t inode;
    int64_t mtime_ns; /* CLOCK_REALTIME */
    bool directory;
};

struct tlog_io_statfs {
    uint64_t block_bytes, blocks, blocks_free, blocks_available, files, files_free;
    uint64_t filesystem_id;
};

struct tlog_io {
    int (*open)(const struct tlog_io *io, const char *path, int flags);
    int (*close)(const struct tlog_io *io, int fd);
    /* Reads at most `bytes` from `foff`; less only at the end of the file. */
    ssize_t (*pread)(const struct tlog_io *io, int fd, void *to, size_t bytes, uint64_t foff);
    /* Writes everything or fails; after a failure any part of the range may have been written. */
    int (*pwritev)(const struct tlog_io *io, int fd, const struct iovec *from, int count, uint64_t foff);
    int (*truncate)(const struct tlog_io *io, int fd, uint64_t size_bytes);
    /* Takes disk space for the range without changing the size. -EOPNOTSUPP where the filesystem cannot. */
    int (*reserve)(const struct tlog_io *io, int fd, uint64_t foff, uint64_t bytes);
    /* fdatasync(2). After a failure the pages count as clean: the caller must not ask again and believe. */
    int (*sync)(const struct tlog_io *io, int fd);
    int (*stat)(const struct tlog_io *io, int fd, struct tlog_io_stat *out);
    /* Maps `bytes` from the start of the file, read-only, shared; the file may be shorter and grow into it.
     * Nothing past the end of the file may be touched. */
    int (*map)(const struct tlog_io *io, int fd, size_t bytes, const void **out);
    void (*unmap)(const struct tlog_io *io, const void *map, size_t bytes);
    /* Asks for the range to be read into memory soon; a hint. */
    void (*readahead)(const struct tlog_io *io, int fd, uint64_t foff, uint64_t bytes);
    /* An exclusive lock on the file, held until close or the death of the process; -EWOULDBLOCK if taken. */
    int (*lock)(const struct tlog_io *io, int fd);

    int (*stat_path)(const struct tlog_io *io, const char *path, struct tlog_io_stat *out);
    int (*rename)(const struct tlog_io *io, const char *from, const char *to);
    int (*unlink)(const struct tlog_io *io, const char *path);
    int (*mkdir)(const struct tlog_io *io, const char *path);
    int (*rmdir)(const struct tlog_io *io, const char *path);
    /* fsync(2) of a directory: its entries are durable. */
    int (*sync_dir)(const struct tlog_io *io, const char *path);
    /* Calls `each` with every name but . and .., in no order, until it returns non-zero; returns that. */
    int (*list)(const struct tlog_io *io, const char *path, int (*each)(void *arg, const char *name), void *arg);
    int (*statfs)(const struct tlog_io *io, const char *path, struct tlog_io_statfs *out);

    int64_t (*realtime_ns)(const struct tlog_io *io); /* CLOCK_REALTIME */
    int64_t (*boottime_ns)(const struct tlog_io *io); /* CLOCK_BOOTTIME: never jumps, counts sleep */
    void (*random)(const struct tlog_io *io, void *to, size_t bytes);
    /* Texts of at most 63 characters: this boot of the kernel, this machine. */
    int (*boot_id)(const struct tlog_io *io, char to[64]);
    int (*machine_id)(const struct tlog_io *io, char to[64]);
};

/* The implementation on Linux's system calls. */
extern const struct tlog_io tlog_io_posix;

#endif
