from django.db import migrations, models
from django.db.models import Max


def remember_numbers(apps, schema_editor):
    """The highest that is there; which were deleted before, nobody knows."""
    files = apps.get_model("training", "DatasetFile").objects
    several = files.values("family").annotate(newest=Max("version")).filter(newest__gt=1)
    for family, newest in list(several.values_list("family", "newest")):
        files.filter(family=family).update(last_version=newest)


class Migration(migrations.Migration):
    dependencies = [("training", "0024_guard_models")]
    operations = [
        migrations.AddField("datasetfile", "last_version", models.PositiveIntegerField(default=1, editable=False)),
        migrations.RunPython(remember_numbers, migrations.RunPython.noop),
    ]
