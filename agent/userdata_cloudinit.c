/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/userdata_cloudinit.h"

#include <string.h>

#include "agent/userdata_yaml.h"

#define SEED "/var/lib/cloud/seed/nocloud"

/* ds-identify takes the name without looking at the machine. */
static const char identify[] = "datasource: NoCloud\n"
                               "policy: search,found=first,maybe=none,notfound=disabled\n";

/*
 * The last of cloud.cfg.d. No file system with the label "cidata" is looked for. The keys of the
 * ssh server stay: /etc/ssh is kept, and a new instance would make new ones. The list is on one
 * line for ds-identify.
 */
static const char config[] = "datasource_list: [ NoCloud ]\n"
                             "datasource: {NoCloud: {fs_label: null, seedfrom: null}}\n"
                             "ssh_deletekeys: false\n";

static int add_text(struct userdata_files *files, const char *path, mode_t mode, const char *text)
{
        struct userdata_file *f = userdata_files_add(files, path, mode);

        return f ? buf_add_str(&f->content, text) : -ENOMEM;
}

static int add_user_data(const struct userdata *u, struct userdata_files *files)
{
        struct userdata_file *f = userdata_files_add(files, SEED "/user-data", 0600);
        int r = f ? buf_add_str(&f->content, "#cloud-config\n") : -ENOMEM;
        bool any = false;

        for (const struct config_node *m = u ? u->tree->first : NULL; m && r == 0; m = m->next) {
                if (strcmp(m->key, "network") == 0)
                        continue;
                any = true;
                r = buf_printf(&f->content, "%s: ", m->key);
                if (r == 0)
                        r = userdata_yaml_write(m, &f->content);
                if (r == 0)
                        r = buf_add_str(&f->content, "\n");
        }
        return r < 0 || any ? r : buf_add_str(&f->content, "{}\n");
}

/* cloud-init does not look for it in user data. */
static int add_network(const struct userdata *u, struct userdata_files *files)
{
        const struct config_node *network = u ? config_node_find(u->tree, "network") : NULL;
        struct userdata_file *f;
        int r;

        if (!network)
                return 0;
        f = userdata_files_add(files, SEED "/network-config", 0600);
        r = f ? userdata_yaml_write(network, &f->content) : -ENOMEM;
        return r < 0 ? r : buf_add_str(&f->content, "\n");
}

int userdata_cloudinit(const struct userdata *u, const char *boot_id, struct userdata_files *files,
                       struct error *e)
{
        struct userdata_file *f;
        int r = add_text(files, "/etc/cloud/ds-identify.cfg", 0644, identify);

        if (r == 0)
                r = add_text(files, "/etc/cloud/cloud.cfg.d/zz_tb-agent.cfg", 0644, config);
        if (r == 0)
                r = add_user_data(u, files);
        if (r == 0)
                r = add_network(u, files);
        if (r == 0) {
                f = userdata_files_add(files, SEED "/meta-data", 0600);
                r = f ? buf_printf(&f->content, "instance-id: tb-agent-%s\n", boot_id) : -ENOMEM;
        }
        if (r == -E2BIG)
                return error_set(e, ERROR_CONFIG, E2BIG, "user data: larger than 4 MiB");
        return r < 0 ? error_oom(e) : 0;
}
