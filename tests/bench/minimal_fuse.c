/* bench-minimal-fuse: the least a FUSE filesystem can do, to measure topicfs against. It serves the regular files of
 * one directory: a write is a pwrite there, a read a pread, an fsync an fdatasync. No framing, no log, no index.
 *
 * As topicfs does, it opens files for direct I/O, takes writes of up to 1 MiB, splices nothing and leaves flush out.
 *
 * usage: bench-minimal-fuse DIRECTORY MOUNTPOINT [-f] [-o OPTIONS] */
#define FUSE_USE_VERSION 314
#include "tests/bench/bench.h"
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 4096, WRITE_MAX = 1048576 };
static const double kept_seconds = 3600; /* nobody else touches the directory */

/* Inode number i + 2 is files[i]; a file once looked up stays. */
static struct {
    int directory;
    pthread_mutex_t lock;
    size_t count;
    char *names[FILES_MAX];
    int fds[FILES_MAX];
} files = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local char *read_buffer;

static int file_fd(fuse_ino_t ino)
{
    return files.fds[ino - 2];
}

/* The inode number of that name, opened (and with O_CREAT in `flags` made) at the first look; or -errno. */
static int64_t file_ino(const char *name, int flags)
{
    int64_t result = -ENFILE;
    pthread_mutex_lock(&files.lock);
    for (size_t i = 0; i < files.count; i++) {
        if (!strcmp(files.names[i], name)) {
            result = (int64_t)i + 2;
            goto out;
        }
    }
    if (files.count == FILES_MAX)
        goto out;
    int fd = openat(files.directory, name, O_RDWR | O_CLOEXEC | flags, 0644);
    if (fd < 0) {
        result = -errno;
        goto out;
    }
    files.names[files.count] = strdup(name);
    files.fds[files.count] = fd;
    result = (int64_t)files.count++ + 2;
out:
    pthread_mutex_unlock(&files.lock);
    return result;
}

static int entry_fill(const char *name, int flags, struct fuse_entry_param *entry)
{
    int64_t ino = file_ino(name, flags);
    if (ino < 0)
        return (int)-ino;
    *entry =
        (struct fuse_entry_param){.ino = (fuse_ino_t)ino, .attr_timeout = kept_seconds, .entry_timeout = kept_seconds};
    if (fstat(file_fd(entry->ino), &entry->attr) < 0)
        return errno;
    entry->attr.st_ino = entry->ino;
    return 0;
}

static void op_init(void *arg, struct fuse_conn_info *connection)
{
    (void)arg;
    connection->max_write = WRITE_MAX;
    connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    (void)parent;
    struct fuse_entry_param entry;
    int error = entry_fill(name, 0, &entry);
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_entry(req, &entry);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    (void)info;
    struct stat st;
    if (fstat(ino == FUSE_ROOT_ID ? files.directory : file_fd(ino), &st) < 0) {
        fuse_reply_err(req, errno);
        return;
    }
    st.st_ino = ino;
    fuse_reply_attr(req, &st, kept_seconds);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
    (void)parent;
    (void)mode;
    struct fuse_entry_param entry;
    int error = entry_fill(name, O_CREAT, &entry);
    info->direct_io = 1;
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_create(req, &entry, info);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *info)
{
    (void)ino;
    info->direct_io = 1;
    fuse_reply_open(req, info);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *info)
{
    (void)info;
    if (!read_buffer && !(read_buffer = malloc(WRITE_MAX))) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    ssize_t got = pread(file_fd(ino), read_buffer, size < WRITE_MAX ? size : WRITE_MAX, off);
    if (got < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_buf(req, read_buffer, (size_t)got);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
                     struct fuse_file_info *info)
{
    (void)info;
    ssize_t got = pwrite(file_fd(ino), data, size, off);
    if (got < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_write(req, (size_t)got);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *info)
{
    (void)datasync;
    (void)info;
    fuse_reply_err(req, fdatasync(file_fd(ino)) < 0 ? errno : 0);
}

static const struct fuse_lowlevel_ops operations = {
    .init = op_init,
    .lookup = op_lookup,
    .getattr = op_getattr,
    .create = op_create,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
};

static int serve(struct fuse_session *session, const struct fuse_cmdline_opts *options)
{
    if (fuse_set_signal_handlers(session) < 0)
        return 111;
    if (fuse_session_mount(session, options->mountpoint) < 0) {
        fuse_remove_signal_handlers(session);
        return 111;
    }
    /* libfuse's own default keeps ten idle threads, as topicfs's does. */
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_daemonize(options->foreground);
    int result = fuse_session_loop_mt(session, config) < 0 ? 111 : 0;
    fuse_loop_cfg_destroy(config);
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    return result;
}

int main(int argc, char **argv)
{
    static const char usage[] = "DIRECTORY MOUNTPOINT [-f] [-o OPTIONS]";
    if (argc < 3)
        bench_usage(usage);
    files.directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files.directory < 0)
        bench_fail(argv[1]);
    argv[1] = argv[0];
    struct fuse_args args = FUSE_ARGS_INIT(argc - 1, argv + 1);
    struct fuse_cmdline_opts options;
    if (fuse_parse_cmdline(&args, &options) < 0 || !options.mountpoint)
        bench_usage(usage);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    if (!session)
        return 111;
    int result = serve(session, &options);
    fuse_session_destroy(session);
    free(options.mountpoint);
    fuse_opt_free_args(&args);
    return result;
}
