from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('training', '0013_paused_for_serving'),
    ]

    operations = [
        migrations.AddField(
            model_name='trainingjob',
            name='preparation',
            field=models.JSONField(blank=True, default=list),
        ),
    ]
