#include "log/spare.h"

#include <errno.h>
#include <stdio.h>

#include "log/files.h"

enum { SPARE_BYTES = 256 << 10 };

void tlog_spare_keep(struct tlog_ground *ground)
{
    const struct tlog_io *io = ground->io;
    char path[TLOG_NAME_BYTES];
    struct tlog_io_stat st;
    if (ground->options.read_only || atomic_exchange(&ground->spare, true))
        return;
    snprintf(path, sizeof path, "%s/spare", ground->path);
    int fd = io->open(io, path, TLOG_IO_WRITE | TLOG_IO_CREATE);
    int r = fd < 0 ? fd : io->stat(io, fd, &st);
    if (r == 0 && st.disk_bytes < SPARE_BYTES) /* a copy has the name alone */
        r = io->reserve(io, fd, 0, SPARE_BYTES);
    if (fd >= 0)
        io->close(io, fd);
    if (fd >= 0 && r < 0)
        (void)io->unlink(io, path);
    if (r < 0 && r != -EOPNOTSUPP)
        atomic_store(&ground->spare, false);
}

bool tlog_spare_use(struct tlog_ground *ground, int result)
{
    char path[TLOG_NAME_BYTES];
    if ((result != -ENOSPC && result != -EDQUOT) || !atomic_exchange(&ground->spare, false))
        return false;
    snprintf(path, sizeof path, "%s/spare", ground->path);
    return ground->io->unlink(ground->io, path) == 0;
}
