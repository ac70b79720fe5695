/*
 * `mpirun --mca coll rdma` alone.
 *
 * Open MPI demands that the listed components offer every collective function on every
 * communicator, also on MPI_COMM_SELF and on intercommunicators, and aborts in MPI_Init otherwise.
 * We serve four functions and call the lower module for the rest, so the components that
 * offer the rest (coll_rdma_alone_components) are loaded here, as if the user had listed them.
 *
 * This runs in our open function, after Open MPI has filtered its list and while it walks it:
 * 1. nothing is done unless the user gave a list of components to include;
 * 2. a component in that list, or one already loaded, is left alone;
 * 3. the new list item goes to the front: the walk is past it and does not open it again;
 * 4. its register and open functions are called as the walk would have done.
 */
#include "coll_rdma/component/coll_rdma.h"

#include <stdlib.h>
#include <string.h>

#include "opal/mca/base/mca_base_component_repository.h"
#include "opal/util/argv.h"

bool coll_rdma_is_alone(void)
{
    const char *list = ompi_coll_base_framework.framework_selection;

    return NULL != list && '\0' != list[0] && '^' != list[0];
}

static bool is_loaded(const char *name)
{
    mca_base_component_list_item_t *item;

    OPAL_LIST_FOREACH (item, &ompi_coll_base_framework.framework_components,
                       mca_base_component_list_item_t) {
        if (0 == strcmp(item->cli_component->mca_component_name, name)) {
            return true;
        }
    }
    return false;
}

/* A component that is part of the library. */
static mca_base_component_list_item_t *find_static(const char *name)
{
    const mca_base_component_t **all = ompi_coll_base_framework.framework_static_components;
    mca_base_component_list_item_t *item;

    for (; NULL != all && NULL != *all; ++all) {
        if (0 == strcmp((*all)->mca_component_name, name)) {
            item = OBJ_NEW(mca_base_component_list_item_t);
            if (NULL != item) {
                item->cli_component = *all;
                opal_list_prepend(&ompi_coll_base_framework.framework_components, &item->super);
            }
            return item;
        }
    }
    return NULL;
}

/* A component in a file of its own. */
static mca_base_component_list_item_t *find_dynamic(const char *name)
{
    mca_base_component_repository_item_t *file;
    opal_list_t *files, *loaded = &ompi_coll_base_framework.framework_components;

    if (OPAL_SUCCESS
        != mca_base_component_repository_get_components(&ompi_coll_base_framework, &files)) {
        return NULL;
    }
    OPAL_LIST_FOREACH (file, files, mca_base_component_repository_item_t) {
        opal_list_item_t *item;

        if (0 != strcmp(file->ri_name, name)) {
            continue;
        }
        if (OPAL_SUCCESS != mca_base_component_repository_open(&ompi_coll_base_framework, file)) {
            return NULL;
        }
        item = opal_list_remove_last(loaded); /* where it was appended */
        opal_list_prepend(loaded, item);
        return (mca_base_component_list_item_t *) item;
    }
    return NULL;
}

static void load(const char *name)
{
    mca_base_component_list_item_t *item;
    const mca_base_component_t *component;

    if (is_loaded(name)) {
        return;
    }
    item = find_static(name);
    if (NULL == item) {
        item = find_dynamic(name);
    }
    if (NULL == item) {
        crdma_log(CRDMA_LOG_SETUP, "component coll/%s, wanted beside coll/rdma, was not found",
                  name);
        return;
    }
    component = item->cli_component;
    if ((NULL != component->mca_register_component_params
         && OPAL_SUCCESS != component->mca_register_component_params())
        || (NULL != component->mca_open_component
            && OPAL_SUCCESS != component->mca_open_component())) {
        crdma_log(CRDMA_LOG_SETUP, "component coll/%s, wanted beside coll/rdma, did not open",
                  name);
        opal_list_remove_item(&ompi_coll_base_framework.framework_components, &item->super);
        OBJ_RELEASE(item);
    }
}

void coll_rdma_load_lower_components(void)
{
    char **names;

    if (!coll_rdma_is_alone() || NULL == coll_rdma_alone_components) {
        return;
    }
    names = opal_argv_split(coll_rdma_alone_components, ',');
    for (int i = 0; NULL != names && NULL != names[i]; ++i) {
        load(names[i]);
    }
    opal_argv_free(names);
}
