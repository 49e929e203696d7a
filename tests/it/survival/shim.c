/* Stands between the vault and the C library: records what is done to one folder, and makes its disk fail.
 *
 * SHIM_ROOT is the folder, as an absolute path without links. SHIM_LOG, where it is set, is the recording: what was
 * written, made, renamed, removed and synced, in the order in which it happened. SHIM_CONTROL is a file of the words
 * below, which the test may change at any time.
 *
 * SHIM_DISK, where it is set, is a copy of what the disk really holds. The folder itself is then what the system has in
 * memory, until somebody advises it to drop that: a file then shows what the copy has.
 *
 * A write is recorded once it is done, a sync when it begins and when it has ended: only what was written before the
 * beginning is on the disk at the end. Nothing is allocated, and every real call is a system call. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* The order is that of `Word` in shim.rs. */
struct control {
    volatile int64_t sync_mode;
    volatile int64_t sync_delay_us;
    volatile int64_t write_errno;
    volatile int64_t write_budget; /* bytes that are still written before the error */
    volatile int64_t only_growth;  /* the error is for writes past the end of a file alone */
    volatile int64_t open_errno;   /* for opening to write, making, renaming and removing */
    volatile int64_t syncs;
    volatile int64_t faults;
    volatile int64_t dropped; /* files of which the system's memory was dropped */
};

enum { SYNC_REAL, SYNC_RECORDED, SYNC_TAKEN_OUT, SYNC_FAILS, SYNC_FAILS_IN_TREE };

static struct control none;
static struct control *control = &none;
static char root[PATH_MAX];
static char disk[PATH_MAX];
static size_t root_length;
static int recording = -1;
static uint64_t tokens;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void watch_advice(void);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SHIM_ROOT");
    if (!path || strlen(path) >= sizeof root) abort();
    strcpy(root, path);
    path = getenv("SHIM_CONTROL");
    int fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0) abort();
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) abort();
    syscall(SYS_close, fd);
    path = getenv("SHIM_LOG");
    if (path) {
        recording = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
        if (recording < 0) abort();
    }
    root_length = strlen(root);
    path = getenv("SHIM_DISK");
    if (path) {
        if (strlen(path) >= sizeof disk) abort();
        strcpy(disk, path);
        watch_advice();
    }
}

static int within(const char *path) {
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return within(path);
}

/* Whether the descriptor is a file or folder below the root. */
static int ours(int fd, struct stat *status, char *path) {
    int before = errno;
    int found = syscall(SYS_fstat, fd, status) == 0 && (S_ISREG(status->st_mode) || S_ISDIR(status->st_mode)) &&
                path_of(fd, path);
    errno = before;
    return found;
}

static int absolute(int folder, const char *path, char *whole) {
    char base[PATH_MAX];
    if (path[0] == '/') {
        snprintf(whole, PATH_MAX, "%s", path);
    } else if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) < 0) return 0;
        if (snprintf(whole, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    } else {
        if (!path_of(folder, base)) return 0;
        if (snprintf(whole, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    return within(whole);
}

/* The file shows what the disk has. */
static void drop(int fd, int advice) {
    char path[PATH_MAX], copy[2 * PATH_MAX], bytes[65536];
    if (advice != POSIX_FADV_DONTNEED || !path_of(fd, path)) return;
    snprintf(copy, sizeof copy, "%s%s", disk, path + root_length);
    int from = syscall(SYS_openat, AT_FDCWD, copy, O_RDONLY | O_CLOEXEC, 0);
    if (from < 0) return;
    int to = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (to < 0) abort();
    int64_t at = 0;
    for (ssize_t got; (got = syscall(SYS_pread64, from, bytes, sizeof bytes, at)) > 0; at += got)
        if (syscall(SYS_pwrite64, to, bytes, got, at) != got) abort();
    if (syscall(SYS_ftruncate, to, at) != 0) abort();
    syscall(SYS_close, from);
    syscall(SYS_close, to);
    control->dropped++;
}

static void advised(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    int before = errno;
    mcontext_t *registers = &((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    drop(registers->gregs[REG_RDI], registers->gregs[REG_R10]);
    registers->gregs[REG_RAX] = 0;
#elif defined(__aarch64__)
    drop(registers->regs[0], registers->regs[3]);
    registers->regs[0] = 0;
#else
    (void)registers;
    abort();
#endif
    errno = before;
}

/* The vault gives advice by a system call of its own, past every library: the kernel is asked to show it here. */
static void watch_advice(void) {
    struct sigaction action = {.sa_sigaction = advised, .sa_flags = SA_SIGINFO};
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fadvise64, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof steps / sizeof *steps, steps};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        abort();
}

/* One record: its length, its kind, two numbers, and bytes. The lock is held. */
static void record(char kind, uint64_t first, uint64_t second, const void *bytes, size_t length) {
    if (recording < 0) return;
    int before = errno;
    unsigned char head[21];
    uint32_t total = 17 + length;
    memcpy(head, &total, 4);
    head[4] = kind;
    memcpy(head + 5, &first, 8);
    memcpy(head + 13, &second, 8);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, length}};
    if (syscall(SYS_writev, recording, parts, 2) != (ssize_t)(sizeof head + length)) abort();
    errno = before;
}

/* What the test's model of a disk does not know must not go unseen. */
static void unknown(const char *what, int fd) {
    struct stat status;
    char path[PATH_MAX];
    if (!ours(fd, &status, path)) return;
    pthread_mutex_lock(&lock);
    record('X', 0, 0, what, strlen(what));
    pthread_mutex_unlock(&lock);
}

static void wait_us(int64_t us) {
    if (us <= 0) return;
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

static int fault(int64_t error) {
    if (!error) return 0;
    __atomic_add_fetch(&control->faults, 1, __ATOMIC_SEQ_CST);
    errno = (int)error;
    return 1;
}

/* How much of a write goes through; -1 with errno where none does. The lock is held. */
static ssize_t granted(uint64_t offset, size_t count, int64_t size) {
    if (!control->write_errno || !count) return count;
    if (control->only_growth && (int64_t)(offset + count) <= size) return count;
    int64_t left = control->write_budget;
    if (left <= 0) return fault(control->write_errno) ? -1 : (ssize_t)count;
    size_t now = (int64_t)count < left ? count : (size_t)left;
    control->write_budget = left - now;
    return now;
}

static ssize_t positioned(int fd, const void *bytes, size_t count, off_t offset) {
    struct stat status;
    char path[PATH_MAX];
    if (!ours(fd, &status, path)) return syscall(SYS_pwrite64, fd, bytes, count, offset);
    pthread_mutex_lock(&lock);
    syscall(SYS_fstat, fd, &status);
    ssize_t done = granted(offset, count, status.st_size);
    if (done > 0) done = syscall(SYS_pwrite64, fd, bytes, done, offset);
    if (done > 0) record('W', status.st_ino, offset, bytes, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return positioned(fd, bytes, count, offset); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t offset) { return positioned(fd, bytes, count, offset); }

ssize_t write(int fd, const void *bytes, size_t count) {
    struct stat status;
    char path[PATH_MAX];
    if (!ours(fd, &status, path)) return syscall(SYS_write, fd, bytes, count);
    pthread_mutex_lock(&lock);
    syscall(SYS_fstat, fd, &status);
    int append = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    off_t offset = append ? status.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t done = granted(offset, count, status.st_size);
    if (done > 0) done = syscall(SYS_write, fd, bytes, done);
    if (done > 0) record('W', status.st_ino, offset, bytes, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct stat status;
    char path[PATH_MAX];
    if (!ours(fd, &status, path)) return syscall(SYS_writev, fd, parts, count);
    /* One part is a short write, which callers must expect. */
    for (int at = 0; at < count; at++)
        if (parts[at].iov_len) return write(fd, parts[at].iov_base, parts[at].iov_len);
    return 0;
}

static int cut(int fd, off_t length) {
    struct stat status;
    char path[PATH_MAX];
    if (!ours(fd, &status, path)) return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int done = control->write_errno && !control->only_growth && control->write_budget <= 0 && fault(control->write_errno)
                   ? -1
                   : syscall(SYS_ftruncate, fd, length);
    if (done == 0) record('T', status.st_ino, length, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off_t length) { return cut(fd, length); }

static int synced(int fd, long call) {
    struct stat status;
    char path[PATH_MAX];
    if (!ours(fd, &status, path)) return syscall(call, fd);
    int64_t mode = control->sync_mode;
    pthread_mutex_lock(&lock);
    uint64_t token = ++tokens;
    if (mode != SYNC_TAKEN_OUT) {
        if (S_ISDIR(status.st_mode))
            record('D', 0, token, path, strlen(path));
        else
            record('S', status.st_ino, token, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    /* By small steps, so that a test can end the wait. */
    for (int64_t waited = 0; waited < control->sync_delay_us; waited += 1000)
        wait_us(control->sync_delay_us - waited < 1000 ? control->sync_delay_us - waited : 1000);
    int done = 0;
    const char *name = strrchr(path, '/');
    int in_tree = S_ISREG(status.st_mode) && name && !strcmp(name, "/db");
    int fails = mode == SYNC_FAILS || (mode == SYNC_FAILS_IN_TREE && in_tree);
    if (mode == SYNC_REAL || (mode == SYNC_FAILS_IN_TREE && !in_tree)) done = syscall(call, fd);
    if (fails && fault(control->write_errno ? control->write_errno : EIO)) done = -1;
    pthread_mutex_lock(&lock);
    if (mode != SYNC_TAKEN_OUT) record('E', done == 0, token, NULL, 0);
    control->syncs++;
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int opened(int folder, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    if (!writes || !absolute(folder, name, path)) return syscall(SYS_openat, folder, name, flags, mode);
    if (fault(control->open_errno)) return -1;
    pthread_mutex_lock(&lock);
    struct stat status;
    int existed = syscall(SYS_newfstatat, folder, name, &status, 0) == 0;
    int fd = syscall(SYS_openat, folder, name, flags, mode);
    int before = errno;
    if (fd >= 0 && syscall(SYS_fstat, fd, &status) == 0 && S_ISREG(status.st_mode))
        record(existed ? 'O' : 'C', status.st_ino, existed && flags & O_TRUNC ? 1 : 0, path, strlen(path));
    errno = before;
    pthread_mutex_unlock(&lock);
    return fd;
}

static int reopened(int folder, const char *name, int flags, va_list more) {
    return opened(folder, name, flags, flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0);
}

#define OPEN(function)                                                                                              \
    int function(const char *name, int flags, ...) {                                                                \
        va_list more;                                                                                               \
        va_start(more, flags);                                                                                      \
        int fd = reopened(AT_FDCWD, name, flags, more);                                                             \
        va_end(more);                                                                                               \
        return fd;                                                                                                  \
    }
#define OPENAT(function)                                                                                            \
    int function(int folder, const char *name, int flags, ...) {                                                    \
        va_list more;                                                                                               \
        va_start(more, flags);                                                                                      \
        int fd = reopened(folder, name, flags, more);                                                               \
        va_end(more);                                                                                               \
        return fd;                                                                                                  \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char paths[2 * PATH_MAX], target[PATH_MAX];
    if (!absolute(from_folder, from, paths) || !absolute(to_folder, to, target))
        return syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (fault(control->open_errno)) return -1;
    size_t first = strlen(paths);
    strcpy(paths + first, target);
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (done == 0) record(flags ? 'X' : 'R', first, 0, paths, first + strlen(target));
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int removed(int folder, const char *name, int flags) {
    char path[PATH_MAX];
    if (!absolute(folder, name, path)) return syscall(SYS_unlinkat, folder, name, flags);
    if (fault(control->open_errno)) return -1;
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_unlinkat, folder, name, flags);
    if (done == 0) record('U', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *name) { return removed(AT_FDCWD, name, 0); }
int unlinkat(int folder, const char *name, int flags) { return removed(folder, name, flags); }
int rmdir(const char *name) { return removed(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdir(const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (!absolute(AT_FDCWD, name, path)) return syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    struct stat status;
    if (control->open_errno && syscall(SYS_newfstatat, AT_FDCWD, name, &status, 0) != 0 && fault(control->open_errno))
        return -1;
    pthread_mutex_lock(&lock);
    int done = syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    if (done == 0) record('M', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    return done;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    unknown("fallocate", fd);
    return syscall(SYS_fallocate, fd, mode, offset, length);
}
int fallocate64(int fd, int mode, off_t offset, off_t length) { return fallocate(fd, mode, offset, length); }
int posix_fallocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length) ? errno : 0; }
int posix_fallocate64(int fd, off_t offset, off_t length) { return posix_fallocate(fd, offset, length); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    unknown("pwritev", fd);
    return syscall(SYS_pwritev, fd, parts, count, offset, 0);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev(fd, parts, count, offset);
}
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    unknown("copy_file_range", out);
    return syscall(SYS_copy_file_range, in, from, out, to, length, flags);
}
