/* The command line, by libfuse's conventions: topicfs [-f] [-d] [-o OPTION,...] STORE MOUNTPOINT. mount(8) calls it so
 * for `mount -t fuse.topicfs` and fstab. */
#ifndef TFS_OPTIONS_H
#define TFS_OPTIONS_H

#define FUSE_USE_VERSION 314
#include <fuse_opt.h>
#include <stdbool.h>

struct tfs_options {
    char *store; /* absolute */
    char *mountpoint;
    int foreground, debug, help, version, read_only;
    struct fuse_args arguments; /* for libfuse: mount options */
};

/* 0, or -EINVAL when it was said what is wrong. */
int tfs_options_parse(struct tfs_options *options, int argc, char **argv);
void tfs_options_release(struct tfs_options *options);
void tfs_options_help(void);

#endif
