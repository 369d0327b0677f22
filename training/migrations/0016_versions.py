from django.db import migrations, models


def begin_families(apps, schema_editor):
    """Every file that is there is the first version of its own dataset."""
    apps.get_model("training", "DatasetFile").objects.update(family=models.F("id"))


class Migration(migrations.Migration):
    dependencies = [("training", "0015_folders_move_with_home")]
    operations = [
        migrations.AddField(
            "datasetfile", "family", models.CharField(default="", editable=False, max_length=40), preserve_default=False
        ),
        migrations.AddField("datasetfile", "version", models.PositiveIntegerField(default=1)),
        migrations.RunPython(begin_families, migrations.RunPython.noop),
    ]
