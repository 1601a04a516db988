/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First process of an image whose root is a read-only file system in a file ("tb-image usi
 * --root-format"). It lays an overlay over that file system and starts the /init in it, which then
 * does what it does in an image whose root is the initramfs itself. Everything it touches came with
 * the initrd, which was measured; it reads nothing else.
 *
 * It is linked statically: the initramfs then holds nothing twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLACE "/tb/"
/* Names that image/bootroot.c gives. */
#define MODULES PLACE "modules/"
#define LOWER PLACE "lower"
#define UPPER PLACE "upper"
#define ROOT PLACE "root"
#define MODULES_MAX 100u
/* Where systemd-stub (systemd-stub(7), "Initrd Resources") leaves what belongs to the image. */
#define EXTRA "/.extra"
#define EXTRA_MAX (64u * 1024u)
/* How long a person can read the reason before the boot loader tries another entry. */
#define REBOOT_DELAY_SECONDS 5u

static const char *const formats[] = {"squashfs", "erofs"};

static _Noreturn void fail(const char *what)
{
        (void)fprintf(stderr, "tb-root: %s: %s\n", what, strerror(errno));
        sync();
        (void)sleep(REBOOT_DELAY_SECONDS);
        (void)reboot((int)LINUX_REBOOT_CMD_RESTART);
        for (;;)
                (void)pause();
}

/* Modules are numbered in the order in which they can be loaded; the suffix says how they are
 * packed, which the kernel finds out itself. */
static int load_module(unsigned number)
{
        static const struct {
                const char *suffix;
                int flags;
        } kinds[] = {{"", 0},
                     {".xz", MODULE_INIT_COMPRESSED_FILE},
                     {".zst", MODULE_INIT_COMPRESSED_FILE},
                     {".gz", MODULE_INIT_COMPRESSED_FILE}};

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                char path[64];
                long r;
                int fd;

                (void)snprintf(path, sizeof(path), MODULES "%02u.ko%s", number, kinds[i].suffix);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                r = syscall(SYS_finit_module, fd, "", kinds[i].flags);
                if (r < 0 && errno != EEXIST)
                        fail(path);
                (void)close(fd);
                (void)unlink(path); /* its memory is the system's */
                return 0;
        }
        return -1;
}

/* The file loses its name: nobody has to find it, and the loop device keeps it. */
static int open_image(const char **ret_format)
{
        for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
                char path[64];
                int fd;

                (void)snprintf(path, sizeof(path), PLACE "root.%s", formats[i]);
                fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                (void)unlink(path);
                *ret_format = formats[i];
                return fd;
        }
        fail("the image of the root");
}

/* A loop device over the image, which stays until the last user of it is gone. */
static void attach(int image, char device[32])
{
        struct loop_config config = {
                .fd = (uint32_t)image,
                .info = {.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR},
        };
        int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number, fd;

        number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
                fail("a loop device");
        (void)snprintf(device, 32, "/dev/loop%d", number);
        fd = open(device, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0)
                fail(device);
        (void)close(control);
        /* fd stays open: the last one to close it would take the device away. */
}

/* What the stub puts beside the initrd for the boot stage; an image without it has no such file. */
static void bring(const char *from, const char *to)
{
        static char content[EXTRA_MAX];
        int in = open(from, O_RDONLY | O_CLOEXEC), out;
        ssize_t n, written;

        if (in < 0 && errno == ENOENT)
                return;
        n = in < 0 ? -1 : read(in, content, sizeof(content));
        if (n < 0)
                fail(from);
        if (n == (ssize_t)sizeof(content)) {
                errno = EFBIG;
                fail(from);
        }
        out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        written = out < 0 ? -1 : write(out, content, (size_t)n);
        if (written != n)
                fail(to);
        (void)close(in);
        (void)close(out);
}

static void bring_extra(void)
{
        if (mkdir(UPPER "/files" EXTRA, 0755) < 0)
                fail(EXTRA);
        bring(EXTRA "/tpm2-pcr-signature.json", UPPER "/files" EXTRA "/tpm2-pcr-signature.json");
        bring(EXTRA "/tpm2-pcr-public-key.pem", UPPER "/files" EXTRA "/tpm2-pcr-public-key.pem");
}

static void mount_root(void)
{
        const char *format = NULL;
        int image = open_image(&format);
        char device[32];
        struct stat top;

        if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") < 0)
                fail("/dev");
        attach(image, device);
        if (mount(device, LOWER, format, MS_RDONLY, NULL) < 0)
                fail(format);
        if (stat(LOWER, &top) < 0)
                fail(LOWER);
        if (mount("tmpfs", UPPER, "tmpfs", 0, "mode=0755") < 0 || mkdir(UPPER "/files", 0755) < 0 ||
            chmod(UPPER "/files", top.st_mode & 07777) < 0 ||
            chown(UPPER "/files", top.st_uid, top.st_gid) < 0 || mkdir(UPPER "/work", 0700) < 0)
                fail(UPPER);
        bring_extra();
        if (mount("overlay", ROOT, "overlay", 0,
                  "lowerdir=" LOWER ",upperdir=" UPPER "/files,workdir=" UPPER "/work") < 0)
                fail("overlay");
        /* The overlay keeps both; nobody else has to find them. */
        if (umount2(LOWER, MNT_DETACH) < 0 || umount2(UPPER, MNT_DETACH) < 0 ||
            umount2("/dev", MNT_DETACH) < 0)
                fail("unmounting");
}

int main(int argc, char *argv[])
{
        (void)argc;
        if (getpid() != 1) {
                (void)fprintf(stderr, "tb-root: the kernel starts it, nobody else\n");
                return 2;
        }
        for (unsigned i = 0; i < MODULES_MAX && load_module(i) == 0; i++) {
        }
        mount_root();
        /* Says to the boot stage that this overlay is the image's root (agent/boot_root.h). */
        if (setenv("TB_ROOT", "overlay", 1) < 0)
                fail("environment");
        if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
            chdir("/") < 0)
                fail("entering the root");
        (void)execv("/init", argv);
        fail("/init");
}
