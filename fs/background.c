#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_SYSTEM = 111 };

static _Noreturn void wait_for_daemon(int descriptor, pid_t daemon)
{
    ssize_t got;
    char ready;
    int status;

    do
        got = read(descriptor, &ready, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1)
        _exit(0);
    while (waitpid(daemon, &status, 0) < 0)
        if (errno != EINTR)
            _exit(EXIT_SYSTEM);
    /* 0 without having been ready is no success. */
    _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EXIT_SYSTEM);
}

int tfs_background_start(void)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    pid_t child = fork();
    if (child < 0) {
        int error = errno;
        close(ends[0]);
        close(ends[1]);
        return -error;
    }
    if (child > 0) {
        close(ends[1]);
        wait_for_daemon(ends[0], child);
    }
    close(ends[0]);
    setsid();
    return ends[1];
}

void tfs_background_ready(int descriptor)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
            dup2(null, standard);
        if (null > STDERR_FILENO)
            close(null);
    }
    if (chdir("/") != 0)
        errno = 0; /* no harm: some directory stays in use */
    while (write(descriptor, "", 1) < 0 && errno == EINTR)
        ;
    close(descriptor);
}
