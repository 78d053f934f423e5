/*
 * What programs expect of a file system, checked in the current folder. Each check is one line of output, `ok NAME` or `FAILED NAME: LINE`;
 * the exit code is the number of those that failed. Built and run by test/folders.test.ts, in a guest on a shared folder; it passes on a
 * local file system too.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int failures;
static int failed_line;
#define check(condition) do { if (!(condition)) { failed_line = __LINE__; fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); return; } } while (0)
#define fails(call, error) check((call) == -1 && errno == (error))

static char buffer[1 << 20];

static int make(const char *name, const char *text) {
  int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
  if (fd >= 0 && write(fd, text, strlen(text)) != (ssize_t)strlen(text)) return -1;
  return fd;
}

static const char *contents(const char *name) {
  int fd = open(name, O_RDONLY);
  ssize_t n = fd < 0 ? -1 : read(fd, buffer, sizeof buffer - 1);
  close(fd);
  buffer[n < 0 ? 0 : n] = 0;
  return buffer;
}

static void creating(void) {
  umask(027);
  int fd = open("created", O_RDWR | O_CREAT, 0666);
  struct stat st;
  check(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640 && st.st_uid == 0 && st.st_nlink == 1);
  umask(022);
  fails(open("created", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
  fails(open("missing", O_RDONLY), ENOENT);
  fails(open("created/below", O_RDONLY), ENOTDIR);
  fails(open(".", O_RDWR), EISDIR);
  fails(mkdir("created", 0755), EEXIST);
  close(fd);
}

static void removed_while_open(void) {
  int fd = make("unlinked", "before");
  struct stat st;
  check(fd >= 0 && unlink("unlinked") == 0);
  fails(stat("unlinked", &st), ENOENT);
  check(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 6);
  check(pwrite(fd, "AFTER", 5, 6) == 5 && pread(fd, buffer, 11, 0) == 11 && memcmp(buffer, "beforeAFTER", 11) == 0);
  check(ftruncate(fd, 3) == 0 && fstat(fd, &st) == 0 && st.st_size == 3);
  check(fchmod(fd, 04711) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 04711);
  check(fchown(fd, 5, 6) == 0 && fstat(fd, &st) == 0 && st.st_uid == 5 && st.st_gid == 6);
  int other = make("unlinked", "other");
  check(other >= 0 && pread(fd, buffer, 3, 0) == 3 && memcmp(buffer, "bef", 3) == 0);
  close(other);
  close(fd);
  check(strcmp(contents("unlinked"), "other") == 0);
}

static void replaced_while_open(void) {
  int fd = make("target", "old text");
  int other = make("source", "new");
  struct stat st;
  check(fd >= 0 && other >= 0 && rename("source", "target") == 0);
  check(fstat(fd, &st) == 0 && st.st_nlink == 0);
  check(pread(fd, buffer, 8, 0) == 8 && memcmp(buffer, "old text", 8) == 0);
  check(strcmp(contents("target"), "new") == 0);
  close(fd);
  close(other);
}

static void folder_removed_under_us(void) {
  check(mkdir("gone", 0755) == 0 && chdir("gone") == 0);
  int fd = open(".", O_RDONLY | O_DIRECTORY);
  check(fd >= 0 && rmdir("../gone") == 0);
  struct stat st;
  check(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode));
  fails(open("file", O_CREAT | O_RDWR, 0644), ENOENT);
  check(chdir("..") == 0);
  close(fd);
}

static void links(void) {
  int fd = make("linked", "text");
  struct stat a, b;
  check(fd >= 0 && link("linked", "hard") == 0 && stat("hard", &a) == 0 && stat("linked", &b) == 0);
  check(a.st_ino == b.st_ino && a.st_nlink == 2 && b.st_nlink == 2);
  check(chmod("hard", 0600) == 0 && stat("linked", &b) == 0 && (b.st_mode & 07777) == 0600);
  fails(link("linked", "hard"), EEXIST);
  check(rename("hard", "linked") == 0 && stat("hard", &a) == 0 && a.st_nlink == 2);
  check(symlink("linked", "soft") == 0 && lstat("soft", &a) == 0 && S_ISLNK(a.st_mode) && a.st_size == 6);
  check(readlink("soft", buffer, 100) == 6 && memcmp(buffer, "linked", 6) == 0);
  check(strcmp(contents("soft"), "text") == 0);
  check(lchown("soft", 7, 8) == 0 && lstat("soft", &a) == 0 && a.st_uid == 7 && stat("soft", &b) == 0 && b.st_uid == 0);
  check(symlink("loop", "loop") == 0);
  fails(open("loop", O_RDONLY), ELOOP);
  fails(open("soft", O_RDONLY | O_NOFOLLOW), ELOOP);
  check(unlink("linked") == 0 && stat("hard", &a) == 0 && a.st_nlink == 1);
  fails(stat("soft", &a), ENOENT);
  close(fd);
}

static void owners_and_modes(void) {
  int fd = make("owned", "x");
  struct stat st;
  check(fd >= 0 && chown("owned", 1000, 2000) == 0 && stat("owned", &st) == 0 && st.st_uid == 1000 && st.st_gid == 2000);
  for (int mode = 0; mode <= 07777; mode += 0111) {
    check(chmod("owned", mode) == 0 && stat("owned", &st) == 0 && (int)(st.st_mode & 07777) == mode);
  }
  check(chmod("owned", 06755) == 0 && chown("owned", 1001, -1) == 0 && stat("owned", &st) == 0);
  check((st.st_mode & 07777) == 0755 && st.st_uid == 1001 && st.st_gid == 2000);
  check(mkdir("sticky", 0755) == 0 && chmod("sticky", 01777) == 0 && stat("sticky", &st) == 0 && (st.st_mode & 07777) == 01777);
  check(mkdir("group", 0755) == 0 && chown("group", -1, 77) == 0 && chmod("group", 02775) == 0);
  close(fd);
  fd = open("group/file", O_CREAT | O_RDWR, 0644);
  check(fd >= 0 && fstat(fd, &st) == 0 && st.st_gid == 77);
  close(fd);
}

static void another_user(void) {
  check(mkdir("theirs", 0755) == 0 && chown("theirs", 1000, 1000) == 0);
  int fd = make("secret", "x");
  check(fd >= 0 && fchmod(fd, 0600) == 0);
  close(fd);
  pid_t child = fork();
  if (child == 0) {
    struct stat st;
    if (setgid(1000) != 0 || setuid(1000) != 0) _exit(1);
    if (open("secret", O_RDONLY) != -1 || errno != EACCES) _exit(2);
    if (open("mine", O_CREAT | O_RDWR, 0644) != -1 || errno != EACCES) _exit(3);
    fd = open("theirs/mine", O_CREAT | O_RDWR, 0600);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_uid != 1000 || st.st_gid != 1000) _exit(4);
    if (chown("theirs/mine", 0, 0) != -1 || errno != EPERM) _exit(5);
    if (mkdir("theirs/folder", 0700) != 0 || symlink("x", "theirs/link") != 0) _exit(6);
    if (write(fd, "theirs", 6) != 6) _exit(7);
    _exit(0);
  }
  int status;
  check(waitpid(child, &status, 0) == child);
  if (status != 0) fprintf(stderr, "the other user failed at %d\n", WEXITSTATUS(status));
  check(status == 0);
  check(strcmp(contents("theirs/mine"), "theirs") == 0);
  struct stat st;
  check(lstat("theirs/link", &st) == 0 && st.st_uid == 1000);
}

static void devices(void) {
  struct stat st;
  check(mknod("null", S_IFCHR | 0666, makedev(1, 3)) == 0 && stat("null", &st) == 0);
  check(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
  int fd = open("null", O_RDWR);
  check(fd >= 0 && write(fd, "x", 1) == 1 && read(fd, buffer, 1) == 0);
  close(fd);
  check(mknod("block", S_IFBLK | 0600, makedev(259, 70000)) == 0 && stat("block", &st) == 0);
  check(S_ISBLK(st.st_mode) && st.st_rdev == makedev(259, 70000));
  check(mkfifo("pipe", 0644) == 0 && stat("pipe", &st) == 0 && S_ISFIFO(st.st_mode));
  pid_t child = fork();
  if (child == 0) {
    int out = open("pipe", O_WRONLY);
    _exit(write(out, "through", 7) == 7 ? 0 : 1);
  }
  fd = open("pipe", O_RDONLY);
  check(fd >= 0 && read(fd, buffer, 100) == 7);
  close(fd);
  int status;
  check(waitpid(child, &status, 0) == child && status == 0);
  check(rename("pipe", "moved-pipe") == 0 && stat("moved-pipe", &st) == 0 && S_ISFIFO(st.st_mode));
}

static void attributes(void) {
  int fd = make("attributes", "x");
  check(fd >= 0 && setxattr("attributes", "user.colour", "red", 3, XATTR_CREATE) == 0);
  fails(setxattr("attributes", "user.colour", "x", 1, XATTR_CREATE), EEXIST);
  fails(setxattr("attributes", "user.other", "x", 1, XATTR_REPLACE), ENODATA);
  check(getxattr("attributes", "user.colour", buffer, 100) == 3 && memcmp(buffer, "red", 3) == 0);
  check(getxattr("attributes", "user.colour", NULL, 0) == 3);
  fails(getxattr("attributes", "user.colour", buffer, 2), ERANGE);
  memset(buffer, 'v', 3000);
  check(fsetxattr(fd, "user.large", buffer, 3000, 0) == 0 && fgetxattr(fd, "user.large", buffer + 3000, 3000) == 3000);
  check(memcmp(buffer, buffer + 3000, 3000) == 0);
  check(setxattr("attributes", "trusted.domus", "\0\377", 2, 0) == 0);
  ssize_t length = listxattr("attributes", buffer, 1000);
  check(length == sizeof "user.colour" + sizeof "user.large" + sizeof "trusted.domus");
  check(rename("attributes", "renamed") == 0 && getxattr("renamed", "user.colour", buffer, 100) == 3);
  check(removexattr("renamed", "user.colour") == 0);
  fails(getxattr("renamed", "user.colour", buffer, 100), ENODATA);
  fails(removexattr("renamed", "user.colour"), ENODATA);
  close(fd);
}

/* A copy of this program, run; what it is for is in `main`. */
static int run_as(int user, const char *name, const char *what, const char *more) {
  pid_t child = fork();
  if (child == 0) {
    if (user != 0 && (setgid(user) != 0 || setuid(user) != 0)) _exit(100);
    execl(name, name, what, more, NULL);
    _exit(101);
  }
  int status;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void programs(void) {
  int from = open("/proc/self/exe", O_RDONLY);
  int fd = open("program", O_WRONLY | O_CREAT | O_EXCL, 0755);
  ssize_t n;
  check(from >= 0 && fd >= 0);
  while ((n = read(from, buffer, sizeof buffer)) > 0) check(write(fd, buffer, n) == n);
  check(n == 0 && close(from) == 0 && close(fd) == 0);
  check(run_as(0, "./program", "user", NULL) == 0 && run_as(100, "./program", "user", NULL) == 100);
  check(chmod("program", 04755) == 0 && run_as(100, "./program", "user", NULL) == 0);
  check(chown("program", 33, 33) == 0 && run_as(100, "./program", "user", NULL) == 100);
  check(chmod("program", 04755) == 0 && run_as(0, "./program", "user", NULL) == 33);
  check(chmod("program", 0700) == 0 && run_as(100, "./program", "user", NULL) == 101);
  /* It goes on when its file is gone, and nobody writes to it while it runs. */
  check(chmod("program", 0755) == 0 && run_as(0, "./program", "busy", "program") == 0);
  check(run_as(0, "./program", "unlink", "program") == 0);
  fails(open("program", O_RDONLY), ENOENT);
}

/* Roles of copies. */
static int play(const char *role, const char *name) {
  if (strcmp(role, "user") == 0) return (int)geteuid();
  if (strcmp(role, "busy") == 0) return open(name, O_WRONLY) == -1 && errno == ETXTBSY ? 0 : 1;
  if (strcmp(role, "attribute") == 0) {
    ssize_t length = getxattr(name, "user.large", buffer, sizeof buffer);
    printf("%zd %c\n", length, buffer[0]);
    return 0;
  }
  if (unlink(name) != 0) return 1;
  int fd = open("/proc/self/exe", O_RDONLY);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0 || st.st_nlink != 0) return 2;
  return read(fd, buffer, sizeof buffer) == sizeof buffer || st.st_size < (off_t)sizeof buffer ? 0 : 3;
}

static void appending(void) {
  pid_t children[4];
  for (int i = 0; i < 4; i++) {
    children[i] = fork();
    if (children[i] != 0) continue;
    int fd = open("appended", O_WRONLY | O_CREAT | O_APPEND, 0644);
    char line[16];
    for (int n = 0; n < 50; n++) {
      snprintf(line, sizeof line, "%d %09d\n", i, n);
      if (write(fd, line, 12) != 12) _exit(1);
    }
    _exit(0);
  }
  for (int i = 0; i < 4; i++) {
    int status;
    check(waitpid(children[i], &status, 0) == children[i] && status == 0);
  }
  struct stat st;
  check(stat("appended", &st) == 0 && st.st_size == 4 * 50 * 12);
  int next[4] = {0};
  FILE *file = fopen("appended", "r");
  for (int n = 0; n < 200; n++) {
    int i, number;
    check(fscanf(file, "%d %d\n", &i, &number) == 2 && i >= 0 && i < 4 && number == next[i]++);
  }
  fclose(file);
}

static void sizes(void) {
  int fd = open("large", O_RDWR | O_CREAT, 0644);
  struct stat st;
  check(fd >= 0 && pwrite(fd, "end", 3, 6LL << 30) == 3);
  check(fstat(fd, &st) == 0 && st.st_size == (6LL << 30) + 3);
  check(pread(fd, buffer, 10, (6LL << 30) - 1) == 4 && buffer[0] == 0 && memcmp(buffer + 1, "end", 3) == 0);
  check(pread(fd, buffer, 10, 7LL << 30) == 0);
  check(lseek(fd, 0, SEEK_END) == (6LL << 30) + 3);
  check(ftruncate(fd, 5) == 0 && fstat(fd, &st) == 0 && st.st_size == 5);
  check(truncate("large", 5000) == 0 && pread(fd, buffer, 10000, 0) == 5000 && buffer[4999] == 0);
  for (size_t i = 0; i < sizeof buffer; i++) buffer[i] = (char)(i * 31 + (i >> 9));
  static char again[sizeof buffer];
  check(pwrite(fd, buffer, sizeof buffer, 777) == sizeof buffer && fsync(fd) == 0 && fdatasync(fd) == 0);
  check(pread(fd, again, sizeof again, 777) == sizeof again && memcmp(buffer, again, sizeof again) == 0);
  close(fd);
  fd = open("large", O_RDWR | O_TRUNC);
  check(fd >= 0 && fstat(fd, &st) == 0 && st.st_size == 0);
  close(fd);
  fd = open(".", O_RDONLY | O_DIRECTORY);
  check(fd >= 0 && fsync(fd) == 0);
  close(fd);
}

static void mapped(void) {
  int fd = open("mapped", O_RDWR | O_CREAT, 0644);
  check(fd >= 0 && ftruncate(fd, 3 * 4096 + 100) == 0);
  char *map = mmap(NULL, 3 * 4096 + 100, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  check(map != MAP_FAILED);
  memcpy(map + 4090, "across two pages", 16);
  map[3 * 4096 + 99] = 'z';
  check(msync(map, 3 * 4096 + 100, MS_SYNC) == 0);
  check(pread(fd, buffer, 16, 4090) == 16 && memcmp(buffer, "across two pages", 16) == 0);
  check(munmap(map, 3 * 4096 + 100) == 0);
  struct stat st;
  check(fstat(fd, &st) == 0 && st.st_size == 3 * 4096 + 100);
  map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 3 * 4096);
  check(map != MAP_FAILED && map[99] == 'z');
  munmap(map, 4096);
  close(fd);
}

static void times(void) {
  int fd = make("timed", "x");
  struct timespec given[2] = {{1500000000, 0}, {1234567890, 123456789}};
  struct stat st;
  check(fd >= 0 && futimens(fd, given) == 0 && fstat(fd, &st) == 0);
  check(st.st_atime == 1500000000 && st.st_mtime == 1234567890);
  /* Linux gives 9p whole seconds only. */
  check(st.st_mtim.tv_nsec == 0 || labs(st.st_mtim.tv_nsec - 123456789) < 1000);
  given[0].tv_nsec = UTIME_OMIT;
  given[1].tv_nsec = UTIME_NOW;
  check(futimens(fd, given) == 0 && fstat(fd, &st) == 0 && st.st_atime == 1500000000 && st.st_mtime > 1700000000);
  close(fd);
  check(symlink("timed", "timed-link") == 0);
  given[0] = given[1] = (struct timespec){1000000000, 0};
  check(utimensat(AT_FDCWD, "timed-link", given, AT_SYMLINK_NOFOLLOW) == 0);
  check(lstat("timed-link", &st) == 0 && st.st_mtime == 1000000000);
  check(stat("timed", &st) == 0 && st.st_mtime > 1700000000);
}

static int lock(int fd, int type, off_t start, off_t length) {
  struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, F_SETLK, &lock);
}

static void locks(void) {
  int fd = open("locked", O_RDWR | O_CREAT, 0644);
  check(fd >= 0 && lock(fd, F_WRLCK, 0, 10) == 0 && lock(fd, F_RDLCK, 20, 0) == 0);
  pid_t child = fork();
  if (child == 0) {
    int own = open("locked", O_RDWR);
    if (lock(own, F_RDLCK, 5, 1) != -1) _exit(1);
    if (lock(own, F_WRLCK, 10, 5) != 0) _exit(2);
    if (lock(own, F_RDLCK, 100, 5) != 0) _exit(3);
    if (lock(own, F_WRLCK, 100, 5) != -1) _exit(4);
    struct flock found = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 3};
    if (fcntl(own, F_GETLK, &found) != 0 || found.l_type != F_WRLCK || found.l_len != 10) _exit(5);
    _exit(0);
  }
  int status;
  check(waitpid(child, &status, 0) == child);
  if (status != 0) fprintf(stderr, "locks failed at %d\n", WEXITSTATUS(status));
  check(status == 0 && lock(fd, F_UNLCK, 0, 0) == 0);
  check(flock(fd, LOCK_EX | LOCK_NB) == 0);
  child = fork();
  if (child == 0) {
    int own = open("locked", O_RDWR);
    _exit(flock(own, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK ? 0 : 1);
  }
  check(waitpid(child, &status, 0) == child && status == 0);
  close(fd);
}

static void listing(void) {
  char name[300];
  check(mkdir("many", 0755) == 0);
  for (int i = 0; i < 600; i++) {
    snprintf(name, sizeof name, "many/stays-%03d", i);
    close(make(name, ""));
    if (i % 2 == 0) {
      snprintf(name, sizeof name, "many/goes-%03d", i);
      close(make(name, ""));
    }
  }
  static int seen[600];
  DIR *folder = opendir("many");
  check(folder != NULL);
  int position = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL; position++) {
    int number;
    struct stat st;
    if (sscanf(entry->d_name, "stays-%d", &number) == 1) {
      seen[number]++;
      check(entry->d_type == DT_REG);
      if (number % 100 == 0) {
        snprintf(name, sizeof name, "many/%s", entry->d_name);
        check(stat(name, &st) == 0 && st.st_ino == entry->d_ino);
      }
    }
    if (position % 3 == 0) {
      snprintf(name, sizeof name, "many/goes-%03d", position / 3 * 2);
      unlink(name);
      snprintf(name, sizeof name, "many/comes-%03d", position);
      close(make(name, ""));
    }
  }
  for (int i = 0; i < 600; i++) check(seen[i] == 1);
  rewinddir(folder);
  int comes = 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) comes += strncmp(entry->d_name, "comes", 5) == 0;
  check(comes > 100);
  rewinddir(folder);
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    snprintf(name, sizeof name, "many/%s", entry->d_name);
    check(unlink(name) == 0);
  }
  closedir(folder);
  check(rmdir("many") == 0);
}

static void moving_folders(void) {
  struct stat st;
  check(mkdir("one", 0755) == 0 && mkdir("one/two", 0755) == 0 && mkdir("elsewhere", 0755) == 0);
  int fd = make("one/two/file", "x");
  check(fd >= 0 && chdir("one/two") == 0);
  check(rename("../../one/two", "../../elsewhere/moved") == 0);
  check(stat("file", &st) == 0 && stat("../../elsewhere/moved/file", &st) == 0);
  check(strstr(getcwd(buffer, 1000), "/elsewhere/moved") != NULL);
  check(chdir("../..") == 0);
  fails(rename("elsewhere", "elsewhere/moved/below"), EINVAL);
  fails(rename("one", "created"), ENOTDIR);
  fails(rename("created", "one"), EISDIR);
  fails(rmdir("elsewhere"), ENOTEMPTY);
  check(mkdir("empty", 0755) == 0 && rename("one", "empty") == 0);
  close(fd);
}

static void names(void) {
  static char longest[256], longer[257];
  memset(longest, 'n', 255);
  memset(longer, 'n', 256);
  int fd = make(longest, "x");
  check(fd >= 0);
  close(fd);
  fails(open(longer, O_CREAT | O_RDWR, 0644), ENAMETOOLONG);
  fd = make("\377\376 \n\t\"\\x", "bytes");
  check(fd >= 0 && strcmp(contents("\377\376 \n\t\"\\x"), "bytes") == 0);
  close(fd);
  struct statvfs space;
  check(statvfs(".", &space) == 0 && space.f_namemax == 255 && space.f_blocks > 0);
}

int main(int count, char **words) {
  if (count > 1) return play(words[1], words[2]);
  static const struct { const char *name; void (*run)(void); } checks[] = {
    {"creating", creating}, {"removed while open", removed_while_open}, {"replaced while open", replaced_while_open},
    {"folder removed under us", folder_removed_under_us}, {"links", links}, {"owners and modes", owners_and_modes},
    {"another user", another_user}, {"devices", devices}, {"attributes", attributes}, {"programs", programs}, {"appending", appending},
    {"sizes", sizes}, {"mapped", mapped}, {"times", times}, {"locks", locks}, {"listing", listing},
    {"moving folders", moving_folders}, {"names", names},
  };
  for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
    failed_line = 0;
    checks[i].run();
    if (failed_line) failures++;
    if (failed_line) printf("FAILED %s: line %d\n", checks[i].name, failed_line);
    else printf("ok %s\n", checks[i].name);
    fflush(stdout);
  }
  return failures;
}
